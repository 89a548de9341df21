"""From a checkpoint to an image: module and integer model decide alike, and the figures are honest."""

import dataclasses

import numpy as np
import pytest

from egret import networks, quantisation, repeats, tasks, training
from egret.checkpoint import save_checkpoint
from egret.evaluation import check_data, evaluate_image
from egret.modules import evaluate_module
from egret.quantisation import agree, check_bits, post_training, quantise
from egret.recipes import RECIPES
from egret.tasks import Sequences
from egru.errors import EgretError
from egru.image import load_image, save_image
from egru.widths import Widths


@pytest.fixture
def trained(small_task, small_recipe, monkeypatch):
    monkeypatch.setitem(RECIPES, "small", small_recipe)
    return training.train(small_task, small_recipe, seed=0)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_train_quantise_save_load_and_evaluate_give_the_decisions_of_the_module(
    small_task, small_recipe, trained, tmp_path, bits, monkeypatch
):
    kept = {}
    original = quantisation.post_training
    monkeypatch.setattr(
        quantisation, "post_training", lambda *a, **k: kept.setdefault("network", original(*a, **k))
    )
    done = quantise(small_task, trained, bits=bits, command="the command")
    save_image(done.image, tmp_path / "small.egret")
    image = load_image(tmp_path / "small.egret")
    assert image.layers[0].spec.recurrent_weight_bits == bits
    for split in tasks.task.SPLITS:
        sequences = small_task.part(split)
        by_module = evaluate_module(kept["network"], sequences)
        by_image = evaluate_image(image, sequences)
        np.testing.assert_array_equal(by_module.decisions, by_image.decisions)
        assert by_module.activity == pytest.approx(by_image.activity)
    assert done.test.accuracy > 0.75


@pytest.mark.parametrize(("inputs", "frac"), [(8, 5), (6, 3), (3, 0), (2, 0)])
def test_mixed_widths_reach_the_image_and_its_decisions_are_those_of_the_module(
    small_task, trained, inputs, frac
):
    widths = Widths.of((4, 5, 6), event_bits=3, table_bits=7, input_bits=inputs)
    done = quantise(small_task, trained, bits=widths)
    spec, readout = done.image.layers[0].spec, done.image.readout.spec
    assert (spec.input_weight_bits, spec.recurrent_weight_bits, readout.weight_bits) == (4, 5, 6)
    assert (spec.event_bits, spec.table_bits) == (3, 7)
    assert (done.image.input.bits, done.image.input.frac) == (inputs, frac)
    assert done.image.info["weight_bits"] == [4, 5, 6]
    assert agree(post_training(trained, widths), small_task.validation)


def test_fine_tuning_changes_the_network_and_no_epochs_leave_it(small_task, small_recipe, trained):
    plain = post_training(trained, 4).to_image("small")
    untouched = quantise(small_task, trained, bits=4, recipe=small_recipe.but(qat_epochs=0)).image
    tuned = quantise(small_task, trained, bits=4).image
    assert np.array_equal(untouched.layers[0].input_weight, plain.layers[0].input_weight)
    assert not np.array_equal(tuned.layers[0].input_weight, plain.layers[0].input_weight)


def test_the_info_of_an_image_says_how_it_was_made_and_what_it_does(small_task, trained):
    done = quantise(small_task, trained, command="egret train small && egret quantize")
    info = done.image.info
    assert info["command"] == "egret train small && egret quantize"
    assert info["labels"] == ["low", "high"] and info["task"] == "small" and info["seed"] == 0
    assert info["input_normalisation"]["scale"] == list(small_task.normalisation.scale)
    seen = evaluate_image(done.image, small_task.test)
    assert info["figures"]["quantised"]["test_accuracy"] == round(seen.accuracy, 5)
    assert info["figures"]["quantised"]["test_activity"] == [round(a, 5) for a in seen.activity]
    check_data(done.image, small_task)


def test_the_test_part_has_no_influence_on_the_image(small_task, trained):
    spoilt = dataclasses.replace(small_task, test=Sequences(small_task.test.x, 1 - small_task.test.y))
    one, two = (quantise(t, trained).image for t in (small_task, spoilt))
    assert dataclasses.replace(one, info={}) == dataclasses.replace(two, info={})


def test_evaluation_does_not_depend_on_batches_or_order(small_task, trained, monkeypatch):
    image = post_training(trained).to_image("small")
    whole = evaluate_image(image, small_task.test)
    order = np.random.default_rng(0).permutation(len(small_task.test))
    monkeypatch.setattr("egret.evaluation.BATCH", 5)
    mixed = evaluate_image(image, small_task.test.subset(order))
    np.testing.assert_array_equal(mixed.decisions, whole.decisions[order])
    assert mixed.activity == pytest.approx(whole.activity)
    assert mixed.input_activity == whole.input_activity


@pytest.mark.parametrize("bits", [1, 9, 0, -3])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(EgretError, match=rf"bits must be an integer 2\.\.8, not {bits}"):
        check_bits(bits)


def test_a_dense_baseline_cannot_be_quantised(small_task, small_recipe):
    dense = training.train(small_task, small_recipe.but(epochs=1), model="gru")
    with pytest.raises(EgretError, match="only a model of kind egru"):
        quantise(small_task, dense)


def test_a_checkpoint_or_an_image_of_another_size_is_refused(small_task, trained):
    image = post_training(trained).to_image("small")
    wide = Sequences(tuple(np.tile(x, 2) for x in small_task.test.x), small_task.test.y)
    with pytest.raises(EgretError, match="the image must take 6 inputs"):
        evaluate_image(image, wide)
    with pytest.raises(EgretError, match="the checkpoint must have 3 inputs and 2 classes"):
        quantise(small_task, dataclasses.replace(trained, input_size=4))


def test_an_image_trained_on_other_input_constants_is_refused(small_task, trained):
    image = quantise(small_task, trained).image
    raw = [x * 2 for x in small_task.train.x]
    other = dataclasses.replace(small_task, normalisation=tasks.Normalisation.measured_on(raw))
    with pytest.raises(EgretError, match="input_normalisation must be that of the task"):
        check_data(image, other)


def test_repeats_print_every_seed_with_mean_and_deviation_and_mark_the_best(
    small_task, small_recipe, trained, tmp_path
):
    from contextlib import nullcontext

    from rich.console import Console

    done = [
        repeats.repeat(small_task, small_recipe, s, bits=8, shown=lambda *_: nullcontext(None))
        for s in (0, 1)
    ]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(repeats.table_of("small", small_recipe, 8, done))
    printed = capture.get()
    rows = [one.row() for one in done]
    assert f"{(rows[0]['QAT'] + rows[1]['QAT']) / 2:.2%}" in printed
    assert [line for line in printed.splitlines() if line.startswith("│") and " *" in line][1:] == []
    best = repeats.best_on_validation(done)
    assert best.row()["validation"] == max(r["validation"] for r in rows)
    repeats.save_repeats(done, tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"seeds.json"} | {f"small-egru-{s}.{e}" for s in (0, 1) for e in ("egret", "safetensors")}
    saved = load_image(tmp_path / "out" / "small-egru-0.egret")
    assert saved == done[0].quantised.image
    save_checkpoint(done[0].checkpoint, tmp_path / "again.safetensors")
    again = (tmp_path / "again.safetensors").read_bytes()
    assert again == (tmp_path / "out" / "small-egru-0.safetensors").read_bytes()


def test_an_unknown_shipped_network_is_refused_and_the_known_ones_are_named():
    with pytest.raises(EgretError, match=r"shipped network must be one of .*digits.*, not 'none'"):
        networks.shipped("none")


@pytest.mark.parametrize(("name", "accuracy", "activity"), [("digits", 0.98, 0.08), ("har", 0.90, 0.10)])
def test_a_shipped_network_does_on_real_data_what_its_info_says(name, accuracy, activity):
    image = load_image(networks.shipped(name))
    task = tasks.load(name)
    check_data(image, task)
    seen = evaluate_image(image, task.test)
    figures = image.info["figures"]["quantised"]
    assert round(seen.accuracy, 5) == figures["test_accuracy"] >= accuracy
    assert [round(a, 5) for a in seen.activity] == figures["test_activity"]
    assert seen.mean_activity <= activity
    assert {name: len(task.part(name)) for name in tasks.task.SPLITS}["train"] > 2000


def test_learned_scales_are_off_by_default_and_reach_the_image_where_asked_for(
    small_task, small_recipe, trained, monkeypatch
):
    assert "learn_scales" not in small_recipe.as_dict()
    kept = {}
    original = quantisation.post_training
    monkeypatch.setattr(
        quantisation, "post_training", lambda *a, **k: kept.setdefault("network", original(*a, **k))
    )
    recipe = small_recipe.but(learn_scales=True, qat_epochs=4, qat_learning_rate=3e-2)
    done = quantise(small_task, trained, bits=3, recipe=recipe)
    assert done.image.info["recipe"]["learn_scales"] is True
    network = kept["network"]
    assert network.scales is not None
    assert any(network.scales.log2_scale(name) % 1 for name in ("weight_ih_l0", "readout.weight"))
    assert agree(network, small_task.test)
    assert dataclasses.replace(done.image, info={}) == network.to_image("small")
    with pytest.raises(EgretError, match="learn_scales must be true or false, not 1"):
        small_recipe.but(learn_scales=1)
