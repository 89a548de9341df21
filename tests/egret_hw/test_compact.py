"""The compact form, and weights that are loaded at run time, bit for bit against the integer model."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.sim import Simulator
from streams import receive, send

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.counters import COUNTED
from egret_hw.cycle_model import turns_of
from egret_hw.half_table import HalfTable
from egret_hw.memory import READ_LATENCY
from egret_hw.stream import Kind
from egru.errors import EgretError
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input


def tokens_of(sequences, streams=1) -> list[dict]:
    """Input tokens of sequences (each T x I integers), one after the other or in turns."""
    tokens = []
    for kind, sequence, step in turns_of([len(x) for x in sequences], streams):
        if kind == Kind.TICK.value:
            x = sequences[sequence][step]
            tokens += [{"kind": Kind.EVENT, "index": int(j), "value": int(x[j])} for j in np.flatnonzero(x)]
        tokens.append({"kind": Kind(kind), "index": 0, "value": 0})
    return tokens


def expected_of(image, sequences) -> list[tuple]:
    """Logit tokens as (kind, index, value)."""
    logits, events = [], 0
    for x in sequences:
        trace = IntegerNetwork(image).run(x)
        events += sum(np.count_nonzero(y) for y in trace.events)
        for row in trace.logits if image.readout.spec.mode == "every" else [trace.logits]:
            logits += [(Kind.EVENT, index, int(value)) for index, value in enumerate(row)]
            if image.readout.spec.mode == "every":
                logits.append((Kind.TICK, None, None))
        logits.append((Kind.END, None, None))
    assert events, "a test of silence would prove little"
    return logits


def run(image, config, rounds, *, stall=0.0, seed=0):
    """Logit tokens of `rounds`, and each layer's counters of what was done and waited for.

    Each round is (image whose weights are loaded first or None, sequences).
    """
    dut = Accelerator(image, config)
    got, counted = [], []

    async def bench(ctx):
        for loaded, sequences in rounds:
            if loaded is not None:
                await load(ctx, dut, loaded, config)
            count = len(expected_of(image, sequences))
            for payload in await receive(ctx, dut.logits, count, rng=random.Random(seed + 1), stall=stall):
                event = payload.kind == Kind.EVENT
                got.append(
                    (
                        Kind(payload.kind),
                        payload.index if event else None,
                        payload.value if event else None,
                    )
                )
            started.append(len(got))
        for number in range(len(image.layers)):
            counters = getattr(dut, f"counters{number}")
            names = sorted(COUNTED.keys() - {"cycles", "idle_no_event"})  # loading itself takes cycles
            counted.append({name: ctx.get(getattr(counters, name)) for name in names})

    async def sender(ctx):
        for number, (_, sequences) in enumerate(rounds):
            while len(started) < number or (rounds[number][0] is not None and loads_done[0] <= number):
                await ctx.tick()
            tokens = tokens_of(sequences, config.streams)
            await send(ctx, dut.events, tokens, rng=random.Random(seed), stall=stall)

    async def load(ctx, dut, loaded, config):
        for number, tile in enumerate(Accelerator(loaded, config).tiles):
            port = getattr(dut, f"load{number}")
            ctx.set(port.valid, 1)
            for address, word in enumerate(tile.weight_words):
                ctx.set(port.payload, {"address": address, "word": word})
                await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
        loads_done[0] += 1

    started, loads_done = [], [0]
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    return got, counted


def network(units=(6,), *, seed=3, **options):
    defaults = {"inputs": 3, "classes": 3, "mode": "every", "weight_bits": 8}
    return random_image(np.random.default_rng(seed), units=units, **(defaults | options))


def sequences_of(image, *, steps=3, seed=5):
    rng = np.random.default_rng(seed)
    return [random_input(rng, image, steps, density=0.6) for _ in range(2)]


@pytest.mark.parametrize(
    ("lanes", "units", "options", "stall"),
    [
        (8, (17,), {}, 0.0),
        (8, (12,), {"weight_bits": 4}, 0.3),
        (2, (5, 3), {"mode": "mean"}, 0.3),
        (3, (7,), {"state_reset": "output"}, 0.0),
        (6, (9,), {"mode": "last"}, 0.4),
        (16, (4,), {"classes": 1}, 0.0),
        (32, (6, 8), {"classes": 2}, 0.2),
    ],
)
def test_the_compact_form_changes_no_bit(lanes, units, options, stall):
    image = network(units, **options)
    sequences = sequences_of(image)
    got, _ = run(image, AcceleratorConfig(lanes=lanes, compact=True), [(None, sequences)], stall=stall)
    assert got == expected_of(image, sequences)


@pytest.mark.parametrize(("lanes", "streams", "stall"), [(4, 2, 0.0), (8, 3, 0.3)])
def test_interleaved_streams_of_the_compact_form_change_no_bit(lanes, streams, stall):
    image = network((10,), mode="last")
    lengths = (3, 1, 4, 2)
    sequences = [
        random_input(np.random.default_rng(n), image, steps, density=0.6) for n, steps in enumerate(lengths)
    ]
    config = AcceleratorConfig(lanes=lanes, compact=True, streams=streams)
    got, _ = run(image, config, [(None, sequences)], stall=stall)
    ended = [sequence for kind, sequence, _ in turns_of(lengths, streams) if kind == Kind.END.value]
    assert ended != sorted(ended), "in turns, a short sequence ends before a longer one that began earlier"
    assert got == expected_of(image, [sequences[sequence] for sequence in ended])


@pytest.mark.parametrize("compact", [False, True])
def test_loaded_weights_give_the_results_and_the_cycles_of_fixed_ones(compact):
    image = network((6, 5))
    sequences = sequences_of(image)
    fixed = run(image, AcceleratorConfig(lanes=4, compact=compact), [(None, sequences)])
    loaded = run(image, AcceleratorConfig(lanes=4, compact=compact, weights="loaded"), [(image, sequences)])
    assert loaded == fixed
    assert loaded[0] == expected_of(image, sequences)


def test_weights_that_are_loaded_later_replace_those_before():
    image = network((6,))
    layer = image.layers[0]
    other = replace(
        image,
        layers=(replace(layer, input_weight=-layer.input_weight, recurrent_weight=-layer.recurrent_weight),),
    )
    sequences = sequences_of(image)
    expected = expected_of(image, sequences), expected_of(other, sequences)
    assert expected[0] != expected[1]
    config = AcceleratorConfig(lanes=4, compact=True, weights="loaded")
    got, _ = run(image, config, [(image, sequences), (other, sequences)])
    assert got == [*expected[0], *expected[1]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_half_a_table_gives_the_values_of_the_whole_one(symmetric):
    middle = 8
    above = [16, 19, 21, 24, 26, 28, 30, 31]
    contents = [32 - above[-1], *(32 - value for value in above[:0:-1]), *above]
    if not symmetric:
        contents[3] += 1
    dut = HalfTable(contents=contents, shape=unsigned(5), mirror=32)
    assert dut.halved is symmetric
    got = []

    async def bench(ctx):
        for index in range(-middle, middle):
            ctx.set(dut.index, index)
            await ctx.tick().repeat(READ_LATENCY)
            got.append(ctx.get(dut.value))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert got == contents


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        ({}, {"weights": "none"}, "weights must be one of fixed, loaded, not 'none'"),
        ({"reset": "before"}, {"compact": True}, "reset of layer 0 must be 'after' in the compact form"),
        (
            {},
            {"compact": True, "update_lanes": 2},
            "update_lanes of layer 0 must be 1 in the compact form, not 2",
        ),
        ({}, {"compact": True, "lanes": 1}, "lanes of layer 0 must be an integer from 2 to 64, not 1"),
    ],
)
def test_what_the_forms_have_no_place_for_is_refused(options, config, message):
    with pytest.raises(EgretError, match=message):
        AcceleratorConfig(**{"lanes": 8, **config}).resolve(network((6,), **options))
