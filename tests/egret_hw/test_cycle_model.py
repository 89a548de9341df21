"""The cycle model against the RTL, cycle for cycle, and what a row, an event and a silent step cost."""

import random
import time
from itertools import pairwise

import numpy as np
import pytest
from accelerator_bench import count_cycles
from amaranth.lib import data
from amaranth.sim import Simulator

from egret_hw.config import AcceleratorConfig
from egret_hw.cycle_model import (
    Activity,
    Shape,
    activity_of,
    predict,
    predict_activity,
    turns_of,
)
from egret_hw.cycle_parts import PASS, Queue
from egret_hw.fifo import PassingFifo
from egret_sim.turns import plan
from egru.errors import EgretError
from egru.testing import random_image, random_input

SILENT_CYCLES = 25
"""What a step without events takes beyond ceil(N / P), with 6P lanes or more."""


def case(inputs, units, *, config, density=0.5, steps=(6, 1, 9), id, **image):
    return pytest.param(inputs, units, config, density, steps, image, id=id)


CASES = [
    case(1, (1,), config=AcceleratorConfig(lanes=1), density=0.9, id="one-of-everything"),
    case(4, (20,), config=AcceleratorConfig(lanes=7, update_lanes=1), id="lanes-that-do-not-divide"),
    case(3, (25,), config=AcceleratorConfig(lanes=24, update_lanes=4, queue_depth=1), id="overlap"),
    case(3, (25,), config=AcceleratorConfig(lanes=24, update_lanes=8), mode="every", id="turns"),
    case(3, (16,), config=AcceleratorConfig(lanes=8, update_lanes=2, streams=2), id="second-sums-beside"),
    case(2, (5,), config=AcceleratorConfig(lanes=16), density=0.9, id="rows-of-one-word"),
    case(5, (40,), config=AcceleratorConfig(lanes=8, update_lanes=2), activity=0.0, density=0.0, id="silent"),
    case(5, (30,), config=AcceleratorConfig(lanes=48), activity=1.0, density=1.0, id="dense"),
    case(6, (60,), config=AcceleratorConfig(lanes=64), mode="last", activity=0.3, id="deep-queues"),
    case(
        3, (18, 9), config=AcceleratorConfig(lanes=(4, 16), queue_depth=2), activity=0.6, id="slow-first"
    ),
    case(
        3, (18, 22), config=AcceleratorConfig(lanes=(24, 2), queue_depth=20), steps=(3, 2), id="slow-last"
    ),
    case(
        2, (12, 7, 10), config=AcceleratorConfig(lanes=(9, 3, 12), readout_lanes=1), mode="every", classes=6,
        id="three-layers",
    ),
    case(4, (16,), config=AcceleratorConfig(lanes=12, streams=2), steps=(5, 3, 1, 4), id="two-streams"),
    case(
        3, (14, 8), config=AcceleratorConfig(lanes=(8, 6), streams=3), steps=(2, 7, 1), mode="last",
        id="three-streams-two-layers",
    ),
    case(4, (24,), config=AcceleratorConfig(lanes=16), reset="before", state_reset="output", id="gate-first"),
    case(
        3, (12, 18), config=AcceleratorConfig(lanes=(16, 6), streams=3, queue_depth=1), reset="before",
        activity=0.5, steps=(5, 2, 3, 1), id="gate-first-in-turns",
    ),
]  # fmt: skip


@pytest.mark.parametrize("inputs,units,config,density,steps,options", CASES)
def test_the_model_takes_the_cycles_of_the_rtl(inputs, units, config, density, steps, options):
    rng = np.random.default_rng(sum(units) + inputs)
    image = random_image(rng, inputs=inputs, units=units, **{"threshold": (0.0, 0.2), **options})
    sequences = [random_input(rng, image, count, density=density) for count in steps]
    predicted = predict(image, sequences, config)
    if options.get("activity") is None:  # a case that tests something
        assert all(tile.recurrent_events > 0 for tile in predicted.tiles)
    snapshots = count_cycles(image, config, sequences)
    assert [end + 1 for end in predicted.ends] == [cycles for cycles, _ in snapshots]
    assert predicted.cycles == snapshots[-1][0]
    for found, tile in zip(snapshots[-1][1], predicted.tiles, strict=True):
        assert tile.busy == found["busy"]
        assert tile.idle == predicted.cycles - found["busy"]
        rows = found["input_events"] + found["recurrent_events"]
        assert tile.input_events + tile.recurrent_events + tile.gated_events == rows


@pytest.mark.parametrize("depth", [1, 2, 16, 17, 40])
def test_a_modelled_queue_moves_items_in_the_cycles_of_the_real_one(depth):
    dut = PassingFifo(data.StructLayout({"number": 16}), depth=depth)
    # Writer and reader take turns at being the slower one, so that the queue fills up and runs dry.
    rng, entered, shown, taken = random.Random(depth), [], [], []

    async def drive(ctx):
        fresh, offering = True, False
        for cycle in range(4000):
            fast = (cycle // 150) % 3
            offering = offering or rng.random() < (1.0, 0.1, 0.5)[fast]
            ready = rng.random() < (0.1, 1.0, 0.5)[fast]
            ctx.set(dut.i.valid, offering)
            ctx.set(dut.o.ready, ready)
            if ctx.get(dut.o.valid):
                if fresh:
                    shown.append(cycle)
                fresh = ready
                if ready:
                    taken.append(cycle)
            if offering and ctx.get(dut.i.ready):
                entered.append(cycle)
                offering = False
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert len(taken) > 500
    queue = Queue(depth)
    for number in range(len(taken)):
        assert queue.enter(entered[number]) == entered[number], number
        assert queue.show() == shown[number], number
        queue.taken = taken[number]


@pytest.mark.parametrize("depth", [3, 20])
def test_a_modelled_queue_that_is_full_takes_nothing(depth):
    dut = PassingFifo(data.StructLayout({"number": 16}), depth=depth)
    entered, taken = [], []

    async def drive(ctx):
        ctx.set(dut.i.valid, 1)
        for cycle in range(400):
            ready = cycle % 5 == 0
            ctx.set(dut.o.ready, ready)
            if ctx.get(dut.o.valid) and ready:
                taken.append(cycle)
            if ctx.get(dut.i.ready):
                entered.append(cycle)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    queue, before = Queue(depth), -1
    for number in range(len(taken)):
        before = queue.enter(before + 1)
        assert before == entered[number], number
        queue.show()
        queue.taken = taken[number]
    assert entered[len(taken) - 1] > len(taken)  # it was full


def silent_image(units, inputs=4):
    return random_image(np.random.default_rng(0), inputs=inputs, units=(units,), classes=2, activity=0.0)


def costs(image, config, sequences):
    """Cycles that each sequence but the first takes, and those in which the only layer's lanes were busy."""
    snapshots = [(cycles, layer["busy"]) for cycles, (layer,) in count_cycles(image, config, sequences)]
    predicted = predict(image, sequences, config)
    assert [end + 1 for end in predicted.ends] == [cycles for cycles, _ in snapshots]
    return [tuple(b - a for a, b in zip(before, after, strict=True)) for before, after in pairwise(snapshots)]


@pytest.mark.parametrize("units,lanes,update", [(20, 6, 1), (21, 13, 2), (5, 64, 5), (33, 48, 8), (16, 8, 2)])
def test_a_silent_step_takes_the_update_of_all_units_and_a_constant(units, lanes, update):
    image, config = silent_image(units), AcceleratorConfig(lanes=lanes, update_lanes=update)
    sequences = [np.zeros((steps, 4), int) for steps in (1, 1, 7)]
    step = -(-units // update) + SILENT_CYCLES
    assert costs(image, config, sequences) == [(step, 0), (7 * step, 0)]


@pytest.mark.parametrize("units,lanes,words", [(16, 12, 4), (21, 16, 4), (21, 10, 7), (5, 5, 3)])
def test_an_event_takes_as_many_cycles_as_its_row_has_words(units, lanes, words):
    image = silent_image(units, inputs=60)
    # So many inputs that the update of the step before is over in time.
    sequences = [np.tile((np.arange(60) < count).astype(int), (2, 1)) for count in (59, 59, 60, 60, 60)]
    found = costs(image, AcceleratorConfig(lanes=lanes, update_lanes=1), sequences)
    assert found[0] == (2 * 59 * words, 2 * 59 * words)
    assert found[2] == (2 * 60 * words, 2 * 60 * words)


@pytest.mark.parametrize("inputs,units,lanes,update", [(30, 24, 16, 2), (30, 20, 7, 1), (60, 10, 10, 1)])
def test_rows_follow_each_other_without_a_gap_while_events_wait(inputs, units, lanes, update):
    """Steps and sequences, with all their borders, cost as many cycles as their rows have words."""
    rng = np.random.default_rng(0)
    image = random_image(rng, inputs=inputs, units=(units,), classes=2, activity=1.0, mode="mean")
    config = AcceleratorConfig(lanes=lanes, update_lanes=update, readout_lanes=2)
    sequences = [random_input(rng, image, steps, density=1.0) for steps in (2, 3, 1, 2, 1)]
    *found, _ = costs(image, config, sequences)  # behind the last sequence no event waits
    assert all(cycles == busy > 50 for cycles, busy in found)


def test_two_streams_hide_latency():
    image = silent_image(64)
    alone, turns = (AcceleratorConfig(lanes=48, update_lanes=8, streams=streams) for streams in (1, 2))
    sequences = [np.zeros((50, 4), int)] * 2
    assert predict(image, sequences, alone).per_step == pytest.approx(8 + SILENT_CYCLES, abs=0.5)
    assert predict(image, sequences, turns).per_step < (8 + SILENT_CYCLES) / 1.5


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_turns_are_those_that_are_played(streams):
    lengths = [3, 1, 1, 5, 2]
    played = [(t.kind, t.sequence, t.step) for t in plan(lengths, streams)]
    assert list(turns_of(lengths, streams)) == [turn if turn[0] != PASS else (PASS, 0, 0) for turn in played]


def test_activity_alone_is_enough_for_a_prediction():
    image = random_image(
        np.random.default_rng(3), inputs=3, units=(6, 4), threshold=(0.0, 0.2), reset="after"
    )
    x = [random_input(np.random.default_rng(4), image, 5)]
    config = AcceleratorConfig(lanes=4)
    found = predict_activity(Shape.of(image, config), activity_of(image, x))
    assert found == predict(image, x, config)
    by_hand = Activity(inputs=[0, 1], fired=[[[0], []], [[], [3]]])
    cycles = predict_activity(Shape.of(image, config), [by_hand])
    assert cycles.tiles[0].input_events == cycles.tiles[0].recurrent_events == 1
    assert cycles.readout.input_events == 1


def test_nothing_to_predict_is_refused():
    image = silent_image(3)
    with pytest.raises(EgretError, match="at least one sequence"):
        predict(image, [])
    with pytest.raises(EgretError, match="lanes of layer 0 must be an integer from 1 to 64, not 65"):
        predict(image, [np.zeros((1, 4), int)], AcceleratorConfig(lanes=65))


def test_thousands_of_steps_are_predicted_in_the_work_of_their_events():
    """Work goes with events, not with cycles: a hundred times the cycles of a row cost nothing."""
    rng = np.random.default_rng(0)
    fired = [np.flatnonzero(rng.random(128) < 0.05).tolist() for _ in range(2000)]
    activity = Activity(inputs=[13] * 2000, fired=[fired])
    image = random_image(rng, inputs=13, units=(128,))
    spent = []
    for lanes in (48, 1):
        shape = Shape.of(image, AcceleratorConfig(lanes=lanes))
        begin = time.process_time()
        predict_activity(shape, [activity])
        spent.append(time.process_time() - begin)
    assert spent[1] < 3 * spent[0]


def test_the_compact_form_is_refused_by_name():
    image = random_image(np.random.default_rng(1), inputs=2, units=(4,), classes=2, mode="mean")
    with pytest.raises(EgretError, match="compact must be off for a prediction"):
        predict(image, [np.ones((1, 2), dtype=int)], AcceleratorConfig(lanes=4, compact=True))
