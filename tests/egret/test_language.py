"""Language modelling: windows, carried state, measures, and the loop on a text."""

import math

import numpy as np
import pytest
import torch
from small_text import small_text
from torch.nn import functional

from egret import training
from egret.language import LanguageModelling, detached, evaluate_text, windows
from egret.recipes import Recipe
from egret.selection import BITS_PER_CHARACTER, PERPLEXITY, told
from egru import Network
from egru.errors import EgretError

SMALL = Recipe(
    units=12,
    epochs=10,
    batch_size=20,
    readout="every",
    window=15,
    label_smoothing=0.0,
    learning_rate=2e-2,
    activity_limit=1.0,
    pressure=0.0,
)


def test_windows_cover_every_next_token_once():
    columns = torch.arange(22).reshape(11, 2)
    cut = list(windows(columns, 4))
    assert [len(w) for w in cut] == [5, 5, 3]
    assert torch.equal(torch.cat([w[1:] for w in cut]), columns[1:])
    assert torch.equal(torch.cat([w[:-1] for w in cut]), columns[:-1])
    assert LanguageModelling(small_text(), SMALL).batches_per_epoch() == math.ceil(149 / 15)


def test_the_loss_over_windows_with_carried_state_is_that_of_the_whole_text():
    text = small_text()
    torch.manual_seed(0)
    network = Network(3, 12, 3, readout="every")
    objective = LanguageModelling(text, SMALL)
    steps = [objective.step(network, w) for w in objective.epoch(np.random.default_rng(0))]
    lengths = [float(s.lengths[0]) for s in steps]
    mean = sum(s.loss.item() * n for s, n in zip(steps, lengths, strict=True)) / sum(lengths)
    columns = torch.from_numpy(text.columns("train", 20))
    logits = network(functional.one_hot(columns[:-1], 3).float()).logits
    whole = functional.cross_entropy(logits.flatten(0, 1), columns[1:].flatten()).item()
    assert mean == pytest.approx(whole, rel=1e-5)
    assert evaluate_text(network, text, "train", window=15, batch=20).nats == pytest.approx(whole, rel=1e-5)


def test_no_gradient_passes_from_a_window_to_the_one_before():
    torch.manual_seed(1)
    network = Network(3, 12, 3, readout="every")
    objective = LanguageModelling(small_text(), SMALL)
    batches = objective.epoch(np.random.default_rng(0))
    objective.step(network, next(batches))
    assert all(not s.requires_grad and s.abs().sum() > 0 for s in objective.state)
    objective.step(network, next(batches)).loss.backward()  # would fail if the first graph were needed
    assert network.egru.weight_hh_l0.grad.abs().max() > 0


def test_an_epoch_begins_with_a_silent_network():
    objective = LanguageModelling(small_text(), SMALL)
    objective.state = (torch.ones(1), torch.ones(1))
    objective.epoch(np.random.default_rng(0))
    assert objective.state is None


def test_states_are_detached_however_they_are_nested():
    value = torch.ones(2, requires_grad=True)
    free = detached([(value, value * 2), (value, None)])
    assert free[1][1] is None and isinstance(free[0], tuple)
    assert not any(v.requires_grad for v in (*free[0], free[1][0]))


@pytest.mark.parametrize("model", ["egru", "gru"])
def test_a_text_is_learnt_to_near_its_entropy(model):
    epochs = []
    made = training.train(small_text(), SMALL, model=model, seed=0, report=epochs.append)
    share = 0.9 + 0.1 / 3
    entropy = -share * math.log2(share) - (1 - share) * math.log2((1 - share) / 2)
    seen = evaluate_text(made.network(), small_text(), "test", window=50)
    assert entropy - 0.15 < seen.bits < entropy + 0.15
    assert epochs[-1].measure is BITS_PER_CHARACTER
    assert [e.number for e in epochs if e.kept][-1] == made.figures["epoch"]
    assert told(made.figures).startswith(f"{made.figures['validation_bits_per_character']:.4f} bits per")


def test_words_are_judged_by_perplexity_and_the_epoch_of_the_lowest_is_kept():
    epochs = []
    made = training.train(small_text("word"), SMALL, seed=0, report=epochs.append)
    assert epochs[0].measure is PERPLEXITY
    assert made.figures["validation_perplexity"] == min(e.value for e in epochs)
    assert 1 < made.figures["validation_perplexity"] < 2
    with pytest.raises(AttributeError, match="by perplexity, not by accuracy"):
        _ = epochs[0].accuracy


def test_pressure_makes_a_text_network_quieter():
    loud, quiet = (
        training.train(small_text(), SMALL.but(pressure=p, activity_target=0.02, ramp_start=0.0), seed=0)
        for p in (0.0, 30.0)
    )
    assert quiet.figures["validation_activity"] < 0.6 * loud.figures["validation_activity"]


def test_evaluation_hardly_depends_on_columns_and_not_on_windows():
    torch.manual_seed(2)
    network = Network(3, 12, 3, readout="every")
    text = small_text()
    one = evaluate_text(network, text, "test", window=7, batch=1)
    assert one.tokens == 599
    other = evaluate_text(network, text, "test", window=100, batch=1)
    assert one.nats == pytest.approx(other.nats, rel=1e-6) and one.activity == pytest.approx(other.activity)
    assert evaluate_text(network, text, "test", window=50, batch=6).nats == pytest.approx(one.nats, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"readout": "mean"}, "readout must be every for the text small-text, not mean"),
        ({"batch_size": 2000}, "batch_size must be at most half the 3000 tokens of small-text, not 2000"),
    ],
)
def test_a_recipe_that_does_not_suit_a_text_is_refused(change, message):
    with pytest.raises(EgretError, match=message):
        LanguageModelling(small_text(), SMALL.but(**change))
