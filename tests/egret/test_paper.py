"""Networks as the paper trains them: what each means against keeping a network general does, exactly."""

import dataclasses

import numpy as np
import pytest
import torch
from small_text import small_text

from egret import training
from egret.books import PAPER
from egret.checkpoint import build, for_hardware, load_checkpoint, save_checkpoint
from egret.language import evaluate_text
from egret.paper import PaperNetwork, locked_dropout
from egret.quantisation import post_training
from egret.recipes import RECIPES, Recipe
from egru import Network
from egru.errors import EgretError
from egru.functional import Options, egru_layer

TEXT = Recipe(
    units=8, layers=2, epochs=3, batch_size=20, readout="every", window=25, activity_limit=1.0, pressure=0.0,
    label_smoothing=0.0, learning_rate=2e-2,
)  # fmt: skip
WORDS = TEXT.but(
    sizes=(24, 24, 16), embedding=16, tied=True, dropout_input=0.1, dropout_between=0.1, dropout_output=0.1,
    dropconnect=0.2, zoneout=0.1,
)  # fmt: skip


def layer(seed: int = 0, steps: int = 9, batch: int = 2, units: int = 5):
    """A layer's arguments, in float64."""
    torch.manual_seed(seed)
    stack = Network(3, units, 2, dtype=torch.float64).egru
    x = torch.randn(steps, batch, 3, dtype=torch.float64)
    c0, y0 = torch.randn(2, batch, units, dtype=torch.float64)
    return x, c0, y0 * 0, stack.layer_parameters(0)


# Zoneout


def test_a_unit_that_is_held_keeps_its_state_and_the_others_update():
    x, c0, y0, parameters = layer(steps=1)
    held = torch.tensor([[[True, False, True, False, False]] * 2])
    options = Options()
    out = egru_layer(x, c0, y0, parameters, options, held=held)
    free = egru_layer(x, c0, y0, parameters, options)
    theta = parameters.theta
    fired = (c0 > theta).double()
    assert torch.equal(out.y[0][held[0]], (fired * c0)[held[0]])
    assert torch.equal(out.c_last[held[0]], (c0 - fired * theta)[held[0]])
    assert torch.equal(out.y[0][~held[0]], free.y[0][~held[0]])
    assert torch.equal(out.c_last[~held[0]], free.c_last[~held[0]])


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_the_gradient_under_zoneout_is_that_of_the_smooth_layer(reset, state_reset):
    x, c0, y0, parameters = layer(steps=4)
    held = torch.rand(4, 2, 5, generator=torch.Generator().manual_seed(1)) < 0.4
    options = Options(reset=reset, state_reset=state_reset, gamma=0.7, eps=1.0)

    def fire(c_tilde, theta):
        """Smooth, with the surrogate as its derivative."""
        v = (c_tilde - theta).clamp(-1, 1)
        return 0.7 * (v - v.sign() * v * v / 2) + 0.5

    inputs = [t.detach().clone().requires_grad_() for t in (x, c0, y0, *parameters)]

    def run(x, c0, y0, *values):
        return egru_layer(
            x, c0, y0, type(parameters)(*values), options, fire=fire, held=held
        )  # fmt: skip

    assert torch.autograd.gradcheck(lambda *a: tuple(run(*a)), inputs, atol=1e-6)


def test_evaluation_takes_the_mean_of_keeping_and_updating():
    x, c0, y0, parameters = layer(steps=1)
    silent = parameters._replace(theta=torch.full((5,), 1e9, dtype=torch.float64))
    mean = egru_layer(x, c0, y0, silent, Options(), held=0.3)
    free = egru_layer(x, c0, y0, silent, Options())
    torch.testing.assert_close(mean.c_last, 0.3 * c0 + 0.7 * free.c_last)
    assert not mean.y.requires_grad


def test_zoneout_holds_the_share_of_units_asked_for_in_training_only():
    torch.manual_seed(0)
    network = PaperNetwork(3, (40,), 2, zoneout=0.25)
    x, c = torch.randn(1, 50, 3), torch.rand(1, 50, 40) * 1e-3
    state = [(c, torch.zeros_like(c))]
    kept = (network(x, state=state).state[0][0] == c).float().mean().item()
    assert kept == pytest.approx(0.25, abs=0.03)
    network.eval()
    with torch.no_grad():
        assert (network(x, state=state).state[0][0] == c).float().mean().item() < 0.01


# Dropout


def test_locked_dropout_drops_the_same_features_in_every_step_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = locked_dropout(torch.ones(7, 60, 50), 0.4, training=True)
    assert torch.equal(dropped, dropped[:1].expand(7, -1, -1))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    x = torch.randn(2, 3, 4)
    assert locked_dropout(x, 0.4, training=False) is x and locked_dropout(x, 0.0, training=True) is x


@pytest.mark.parametrize(
    "option", ["dropout_input", "dropout_between", "dropout_output", "dropconnect", "zoneout"]
)
def test_every_dropout_changes_training_and_all_but_zoneout_leave_evaluation(option):
    torch.manual_seed(0)
    network = PaperNetwork(3, (12, 8), 2, **{option: 0.5})
    bare = PaperNetwork(3, (12, 8), 2)
    bare.load_state_dict(network.state_dict())
    x = torch.randn(10, 4, 3)
    assert not torch.equal(network(x).logits, network(x).logits)
    with torch.no_grad():
        network.eval(), bare.eval()
        assert torch.equal(network(x).logits, bare(x).logits) is (option != "zoneout")


def test_dropconnect_drops_recurrent_weights_alone_and_scales_the_others():
    torch.manual_seed(0)
    network = PaperNetwork(3, (12,), 2, dropconnect=0.5)
    x = torch.randn(1, 4, 3)
    assert torch.equal(network(x).logits, network(x).logits)  # the first step has no recurrent input
    out = network(torch.randn(12, 4, 3))
    out.logits.sum().backward()
    gradient = network.layers[0].weight_hh_l0.grad
    assert 0.3 < (gradient == 0).float().mean() < 0.9
    assert network.layers[0].weight_ih_l0.grad.count_nonzero() > 100


# The network


def test_without_options_it_computes_what_network_does():
    torch.manual_seed(0)
    network = PaperNetwork(3, (8, 8), 2, eps=2.0, kernel="dense")
    plain = network.plain()
    x, lengths = torch.randn(9, 4, 3), torch.tensor([9, 5, 7, 1])
    one, two = network(x, lengths), plain(x, lengths)
    assert torch.equal(one.logits, two.logits) and plain.egru.options.eps == 2.0
    assert all(torch.equal(a, b) for a, b in zip(one.events, two.events, strict=True))
    one.logits.square().sum().backward()
    two.logits.square().sum().backward()
    assert torch.equal(network.layers[1].weight_hh_l0.grad, plain.egru.weight_hh_l1.grad)


def test_the_state_carries_over():
    torch.manual_seed(0)
    network = PaperNetwork(3, (8, 5), 2, readout="every")
    x = torch.randn(9, 4, 3)
    first = network(x[:4])
    second = network(x[4:], state=first.state)
    torch.testing.assert_close(torch.cat((first.logits, second.logits)), network(x).logits)


def test_tied_weights_are_one_tensor_trained_saved_and_loaded(tmp_path):
    made = training.train(small_text("word", 4), WORDS, seed=0)
    save_checkpoint(made, tmp_path / "w.safetensors")
    network = load_checkpoint(tmp_path / "w.safetensors").network()
    assert network.readout.weight is network.embedding.weight
    seen = evaluate_text(network, small_text("word", 4), "validation", window=25)
    assert seen.perplexity == pytest.approx(made.figures["validation_perplexity"])
    assert len(seen.activity) == 3 and min(seen.activity) > 0 and seen.perplexity < 3.9


def test_a_paper_run_is_resumed_bit_for_bit(tmp_path):
    straight = training.train(small_text("word", 4), WORDS, seed=1)

    def stop(epoch):
        raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            training.train(small_text("word", 4), WORDS, seed=1, state=tmp_path / "s", report=stop)
    made = training.train(small_text("word", 4), WORDS, seed=1, state=tmp_path / "s")
    assert all(torch.equal(made.weights[n], straight.weights[n]) for n in straight.weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": 5}, "the hardware takes tokens one-hot, as a text by characters does"),
        ({"zoneout": 0.1}, "must not have zoneout"),
        ({"sizes": (8, 9)}, r"must not have layers of different sizes, \[8, 9\]"),
    ],
)
def test_what_the_hardware_cannot_have_is_said_when_quantising(change, message):
    made = training.train(small_text(), TEXT.but(epochs=1, **change), seed=0)
    with pytest.raises(EgretError, match=message):
        post_training(made)


def test_a_network_trained_with_dropout_alone_is_quantised_as_a_plain_one():
    made = training.train(small_text(), TEXT.but(epochs=1, dropconnect=0.2, dropout_between=0.1), seed=0)
    plain = for_hardware(made)
    assert isinstance(plain, Network)
    one, two = (evaluate_text(n, small_text(), "test", window=50) for n in (made.network(), plain))
    assert one == two
    quantised = evaluate_text(post_training(made), small_text(), "test", window=50)
    assert quantised.nats == pytest.approx(one.nats, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tied": True}, "embedding must be 8, as the last layer's units, for tied weights, not 0"),
        ({"zoneout": 0.1, "kernel": "sparse"}, "kernel must be dense or auto with zoneout, not sparse"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(EgretError, match=message):
        PaperNetwork(3, (8,), 2, **options)


def test_the_dense_baseline_has_none_of_this():
    with pytest.raises(EgretError, match="model must be egru for a recipe with zoneout, not gru"):
        build("gru", 3, 2, Recipe(zoneout=0.1))


# Recipes


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe with everything as it is, but for sizes, epochs and batches."""
    sizes = tuple(max(2, units // 100) for units in recipe.sizes)
    return recipe.but(
        units=6, sizes=sizes, embedding=sizes[-1] if recipe.embedding else 0, epochs=1, batch_size=8
    )


@pytest.mark.parametrize(
    ("book", "task"), [(b, t) for b, r in (("default", RECIPES), ("paper", PAPER)) for t in r]
)
def test_every_recipe_trains_a_small_network(book, task, small_task):
    recipe = {"default": RECIPES, "paper": PAPER}[book][task]
    text = small_text("character" if task == "ptb-char" else "word") if recipe.readout == "every" else None
    made = training.train(text or dataclasses.replace(small_task, name=task), shrunk(recipe), seed=0)
    value = made.figures.get("validation_accuracy", made.figures.get("validation_perplexity", 1.0))
    assert np.isfinite(value) and made.figures["epoch"] == 1


def test_input_std_is_for_the_first_layer_alone():
    torch.manual_seed(0)
    network = PaperNetwork(2, (300, 300), 3, input_std=2.0)
    first, second = (layer.weight_ih_l0.std() for layer in network.layers)
    assert 1.8 < first < 2.2 and second < 0.2
