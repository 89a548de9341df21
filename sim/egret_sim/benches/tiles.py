"""Benches of a whole tile and of the readout, against the integer model."""

import cocotb
import numpy as np

from egret_hw.stream import Kind
from egret_sim.benches import shapes
from egret_sim.benches.queues import numbers
from egret_sim.benches.testbench import Bench, Sink, Source, Stall
from egret_sim.scoreboard import StreamComparator, event_groups, logit_groups
from egret_sim.tokens import TICK
from egret_sim.turns import Turn, plan
from egru.integer import IntegerNetwork, Trace
from egru.testing import random_input

LENGTHS = (1, 12, 1, 30, 2, 20)
DENSITIES = (1.0, 0.5, 0.0, 0.2, 1.0, 0.8)


def tokens_of(sequences: list[np.ndarray], turns: list[Turn]) -> list[dict]:
    """Sequences (steps x sources) as tokens, the events of each step in the order of their sources."""
    tokens = []
    for turn in turns:
        if turn.kind == TICK:
            row = sequences[turn.sequence][turn.step]
            for source in np.flatnonzero(row):
                tokens.append({"kind": Kind.EVENT, "index": int(source), "value": int(row[source])})
        tokens.append({"kind": Kind(turn.kind), "index": 0, "value": 0})
    return tokens


async def play(
    bench: Bench, component, sequences: list[np.ndarray], turns: list[Turn], comparator: StreamComparator
) -> None:
    """Send sequences through a component and compare what it sends."""
    payload = component.i.payload.shape()
    # A planted fault flips the value of events.
    flip = 1 << payload["value"].offset
    tokens = tokens_of(sequences, turns)
    Source(bench, "i", payload, tokens, flip=lambda token: flip if token["kind"] is Kind.EVENT else 0)
    sink = Sink(bench, "o", component.o.payload.shape())
    cycles: list[int] = []
    ends = 0

    def note(token) -> None:
        nonlocal ends
        cycles.append(bench.cycle)
        ends += token.kind is Kind.END

    sink.on_received = note
    await bench.start()
    await bench.run(lambda: ends >= len(sequences), f"END of {len(sequences)} sequences", settle=200)
    kind, index, value = np.array([numbers(token) for token in sink.received]).T
    comparator.feed(kind, index, value, np.array(cycles))
    comparator.finish()
    check = comparator.check
    bench.compared += check.compared
    if check.mismatched:
        raise AssertionError(f"{bench.name}: {check.mismatched} mismatches, the first: {check.mismatches[0]}")


def draw(bench: Bench) -> tuple[list[np.ndarray], list[Trace], list[Turn]]:
    """Random sequences for the shape's network, their traces, and the order of their steps."""
    shape = shapes.current()
    image = shape.image
    rng = np.random.default_rng(bench.rng.getrandbits(32))
    pairs = zip(LENGTHS, DENSITIES, strict=True)
    sequences = [random_input(rng, image, steps, density=density) for steps, density in pairs]
    return sequences, [IntegerNetwork(image).run(x) for x in sequences], plan(LENGTHS, shape.streams)


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def tile(dut, stalls):
    """Events of every step equal the model's; sequences follow each other without a reset."""
    component = shapes.current().components["tile"]
    bench = Bench(dut, "tile", stalls)
    sequences, traces, turns = draw(bench)
    comparator = StreamComparator(0, event_groups(traces, turns, 0), ordered=False)
    await play(bench, component, sequences, turns, comparator)
    bench.finish(sum(LENGTHS))


@cocotb.test()
@cocotb.parametrize(stalls=Stall.MODES)
async def readout(dut, stalls):
    """Logits equal the model's, given the events of the model's last layer."""
    shape = shapes.current()
    component = shape.components["readout"]
    bench = Bench(dut, "readout", stalls)
    _, traces, turns = draw(bench)
    groups = logit_groups(traces, turns, every=shape.mode == "every")
    comparator = StreamComparator("readout", groups, ordered=True)
    await play(bench, component, [trace.events[-1] for trace in traces], turns, comparator)
    bench.finish(len(LENGTHS))
