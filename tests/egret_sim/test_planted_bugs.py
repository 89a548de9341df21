"""The quick comparison with the integer model notices each of five small, likely mistakes in the RTL."""

import gc
import sys

import numpy as np
import pytest
from accelerator_simulation import at_the_threshold, expected_of, simulate, tokens_of

from egret_hw.accumulator import Accumulator
from egret_hw.config import AcceleratorConfig
from egret_hw.fifo import PassingFifo
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.tile_scheduler import TileScheduler
from egret_sim.formal.planting import Edit, planted
from egru.testing import random_image, random_input

BUGS = {
    "no forwarding of a sum in flight": Edit(
        Accumulator, "Mux(again & ~read_tag.first, new, current.chosen)", "current.chosen"
    ),
    "a tick does not wait for the recurrent events": Edit(
        TileScheduler, "complete = recurrent_done | recurrent_tick", "complete = ~self.o.valid | self.o.valid"
    ),
    "a payload is cut, not rounded": Edit(NeuronUpdate, "(potential + half(shift))", "(potential + 0)"),
    "a full queue is ready": Edit(PassingFifo, "self.i.ready.eq(~taken[-1])", "self.i.ready.eq(1)"),
}
STRICT = Edit(NeuronUpdate, "stage((above >= 0) & real", "stage((above >= -1) & real")


def equals_the_model(image, config, sequences, stall):
    """Whether every event and logit is right; False also where the accelerator stops."""
    logits, layers = expected_of(image, sequences)
    assert sum(map(len, layers[0])) > 0
    try:
        found_logits, found_layers, _ = simulate(
            image, config, tokens_of(sequences), len(logits), stall=stall, cycles_max=2000
        )
    except TimeoutError:
        return False
    return (found_logits, found_layers) == (logits, layers)


def small_accelerators():
    """Whether two layers with rows of one word and stalls, and one with many events, are right."""
    rng = np.random.default_rng(2)
    two = random_image(rng, inputs=3, units=(5, 4), classes=2, mode="every", threshold=(0.0, 0.2))
    busy = random_image(rng, inputs=3, units=(12,), classes=2, mode="every", threshold=(0.0, 0.0))
    quick = AcceleratorConfig(lanes=16, update_lanes=1, queue_depth=2)
    slow = AcceleratorConfig(lanes=4, queue_depth=2)
    return all(
        equals_the_model(image, config, [random_input(rng, image, n, density=0.7) for n in (6, 1, 3)], stall)
        for image, config, stall in ((two, quick, 0.5), (busy, slow, 0.0))
    )


def first_step_at_the_threshold():
    """Whether units whose potentials equal their thresholds are right."""
    image, x, _ = at_the_threshold()
    return equals_the_model(image, AcceleratorConfig(lanes=16), [x[:2]], 0.0)


def test_without_a_bug_everything_is_right():
    assert small_accelerators()
    assert first_step_at_the_threshold()


@pytest.fixture
def given_up(monkeypatch):
    """For runs that may be given up: their testbenches are left waiting, and complain when collected."""
    yield
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    gc.collect()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug, given_up):
    with planted([BUGS[bug]]):
        assert not small_accelerators()


def test_a_threshold_that_is_not_strict_is_noticed():
    with planted([STRICT]):
        assert not first_step_at_the_threshold()
