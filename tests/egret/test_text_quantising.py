"""A text's network in integers: module and integer model agree, and the figures are honest."""

import dataclasses

import numpy as np
import pytest
from small_text import small_text

from egret import tasks, training
from egret.checkpoint import load_checkpoint
from egret.cli.main import main
from egret.language import evaluate_text
from egret.quantisation import post_training
from egret.recipes import RECIPES, Recipe
from egret.text_quantisation import evaluate_text_image, quantise_text
from egru.errors import EgretError
from egru.image import load_image
from egru.integer import IntegerNetwork
from egru.testing import random_image

RECIPE = Recipe(
    units=12, layers=2, epochs=5, batch_size=20, readout="every", window=25, label_smoothing=0.0,
    learning_rate=2e-2, activity_limit=1.0, pressure=0.0, qat_epochs=2, qat_learning_rate=5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    return training.train(small_text(), RECIPE, seed=0)


@pytest.mark.parametrize("bits", [8, 3])
def test_module_and_image_foretell_alike_whatever_the_windows(trained, bits, monkeypatch):
    network = post_training(trained, bits)
    by_module = evaluate_text(network, small_text(), "test", window=31)
    for window in (17, 1000):
        monkeypatch.setattr("egret.text_quantisation.WINDOW", window)
        by_image = evaluate_text_image(network.to_image("small"), small_text(), "test")
        assert by_image.tokens == by_module.tokens
        assert by_image.nats == pytest.approx(by_module.nats, rel=1e-5)
        assert by_image.activity == pytest.approx(by_module.activity)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_the_integer_model_goes_on_from_a_state_as_if_never_stopped(reset, state_reset):
    rng = np.random.default_rng(3)
    image = random_image(
        rng, inputs=4, units=(7, 5), classes=3, mode="every", reset=reset, state_reset=state_reset
    )
    network = IntegerNetwork(image)
    fmt = image.input.format
    x = rng.integers(fmt.lo, fmt.hi + 1, (30, 3, 4))
    whole, first = network.run(x), network.run(x[:13])
    second = network.run(x[13:], state=first.last())
    assert np.count_nonzero(whole.events[1]) > 0
    for k in range(2):
        assert np.array_equal(np.concatenate((first.events[k], second.events[k])), whole.events[k])
    assert np.array_equal(np.concatenate((first.logits, second.logits)), whole.logits)
    assert not np.array_equal(network.run(x[13:]).logits, second.logits)


def test_fine_tuning_is_chosen_on_validation_and_the_info_says_what_the_image_does(trained):
    done = quantise_text(small_text(), trained, bits=3, command="the command")
    plain = quantise_text(small_text(), trained, bits=3, recipe=RECIPE.but(qat_epochs=0))
    shown, before = (d.image.info["figures"]["quantised"] for d in (done, plain))
    assert shown["validation_bits_per_character"] <= before["validation_bits_per_character"]
    again = evaluate_text_image(done.image, small_text(), "test")
    assert shown["test_bits_per_character"] == round(again.bits, 5) and shown["test_tokens"] == again.tokens
    assert shown["test_activity"] == [round(a, 5) for a in again.activity]
    assert done.image.info["command"] == "the command" and done.post_training_test == plain.test


def test_an_image_of_another_kind_is_refused(trained):
    image = post_training(trained).to_image("small")
    with pytest.raises(EgretError, match="must take 4 inputs and answer every step for small-text, not 3"):
        evaluate_text_image(image, small_text("character", 4), "test")
    with pytest.raises(EgretError, match="checkpoint must have"):
        quantise_text(small_text("character", 4), trained)


def test_train_quantize_and_evaluate_a_text_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dataclasses.replace(small_text(), name="ptb-char")
    monkeypatch.setattr(tasks, "load_text", lambda *_: text)
    monkeypatch.setitem(RECIPES, "ptb-char", RECIPE)
    assert main(["train", "ptb-char", "-o", "t.safetensors"]) == 0
    assert "bits per character on the validation part at" in capsys.readouterr().out
    assert main(["quantize", "t.safetensors", "--bits", "6", "--epochs", "1"]) == 0
    assert "6 bits, fine-tuned" in capsys.readouterr().out
    figures = load_image("t.egret").info["figures"]["quantised"]
    assert main(["evaluate", "t.egret"]) == 0
    shown = capsys.readouterr().out
    assert f"{figures['test_bits_per_character']:.4f} bits per character" in shown
    assert f"{figures['test_activity'][1]:.2%}" in shown and f"{figures['test_tokens']}" in shown
    assert main(["evaluate", "t.safetensors"]) == 0
    before = load_image("t.egret").info["figures"]["float"]
    shown = capsys.readouterr().out
    assert f"{before['test_bits_per_character']:.4f} bits per character" in shown
    assert f"{before['test_activity'][1]:.2%}" in shown


def test_a_dense_baseline_is_evaluated_on_a_text_and_has_no_activity(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = dataclasses.replace(small_text(), name="ptb-char")
    monkeypatch.setattr(tasks, "load_text", lambda *_: text)
    monkeypatch.setitem(RECIPES, "ptb-char", RECIPE)
    assert main(["train", "ptb-char", "--model", "gru", "-o", "g.safetensors"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "g.safetensors", "--split", "validation"]) == 0
    shown = capsys.readouterr().out
    kept = load_checkpoint(tmp_path / "g.safetensors").figures["validation_bits_per_character"]
    assert f"{kept:.4f} bits per character" in shown and "activity" not in shown
    other = dataclasses.replace(small_text("character", 4), name="ptb-char")
    monkeypatch.setattr(tasks, "load_text", lambda *_: other)
    assert main(["evaluate", "g.safetensors"]) == 2
    assert "the network must take 4 inputs for task ptb-char, not 3" in capsys.readouterr().err
