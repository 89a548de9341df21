"""An accelerator in Amaranth's simulator with stalls on its streams, and what it should have sent."""

import random
from dataclasses import replace

import numpy as np
from amaranth.sim import Simulator
from streams import receive, send

from egret_hw.accelerator import Accelerator
from egret_hw.counters import COUNTED
from egret_hw.stream import Kind
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input

CYCLES_MAX = 200_000


def tokens_of(sequences) -> list[dict]:
    """Input tokens of sequences (each T x I integers): events, ticks, ends."""
    tokens = []
    for x in sequences:
        for step in x:
            tokens += [
                {"kind": Kind.EVENT, "index": int(j), "value": int(step[j])} for j in np.flatnonzero(step)
            ]
            tokens.append({"kind": Kind.TICK, "index": 0, "value": 0})
        tokens.append({"kind": Kind.END, "index": 0, "value": 0})
    return tokens


def expected_of(image, sequences):
    """Logit tokens as (kind, index, value), and per layer the events of each step as {unit: payload}."""
    model = IntegerNetwork(image)
    logits, layers = [], [[] for _ in image.layers]
    for x in sequences:
        trace = model.run(x)
        rows = trace.logits if image.readout.spec.mode == "every" else [trace.logits]
        for row in rows:
            logits += [(Kind.EVENT, index, int(value)) for index, value in enumerate(row)]
            if image.readout.spec.mode == "every":
                logits.append((Kind.TICK, None, None))
        logits.append((Kind.END, None, None))
        for steps, events in zip(layers, trace.events, strict=True):
            steps += [{int(u): int(step[u]) for u in np.flatnonzero(step)} for step in events]
    return logits, layers


def simulate(image, config, tokens, count, *, seed=0, stall=0.0, cycles_max=CYCLES_MAX):
    """`count` logit tokens, events of each layer and step, and the counters of each layer."""
    dut = Accelerator(image, config)
    logits, layers, cycles, counters = [], [[{}] for _ in image.layers], [], []

    async def sender(ctx):
        await send(ctx, dut.events, tokens, rng=random.Random(seed), stall=stall)

    async def receiver(ctx):
        for payload in await receive(ctx, dut.logits, count, rng=random.Random(seed + 1), stall=stall):
            event = payload.kind == Kind.EVENT
            logits.append(
                (Kind(payload.kind), payload.index if event else None, payload.value if event else None)
            )
        for number in range(len(image.layers)):
            values = getattr(dut, f"counters{number}")
            counters.append({name: ctx.get(getattr(values, name)) for name in COUNTED})

    async def watchdog(ctx):
        taps = [getattr(dut, f"tap{k}") for k in range(len(image.layers))]
        trigger = ctx.tick().sample(*[tap.strobe for tap in taps], *[tap.token for tap in taps])
        async for _, _, *values in trigger:
            cycles.append(0)
            if len(cycles) > cycles_max:
                raise TimeoutError(f"{len(logits)} of {count} logits after {cycles_max} cycles")
            for layer, (strobe, token) in enumerate(
                zip(values[: len(taps)], values[len(taps) :], strict=True)
            ):
                if strobe and token.kind == Kind.EVENT:
                    layers[layer][-1][token.index] = token.value
                elif strobe and token.kind == Kind.TICK:
                    layers[layer].append({})

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender)
    simulator.add_testbench(receiver)
    simulator.add_testbench(watchdog, background=True)
    simulator.run()
    return logits, [steps[:-1] for steps in layers], counters


def at_the_threshold():
    """A network, one sequence, and units: in the first step their potentials are 1 above their thresholds.

    As many others equal theirs.
    """
    rng = np.random.default_rng(9)
    image = random_image(
        rng, inputs=3, units=(24,), classes=2, mode="every", event_bits=8, threshold=(1.0, 1.0)
    )
    x = random_input(rng, image, 3, density=1.0)
    potential = IntegerNetwork(image).run(x).states[0][0]  # nobody fires, so the state is the potential
    layer = image.layers[0]
    threshold = layer.threshold.copy()
    reached = np.flatnonzero(potential > layer.spec.threshold_range[0])
    equal, below = reached[::2], reached[1::2]
    assert len(equal) > 2 and len(below) > 2
    threshold[equal], threshold[below] = potential[equal], potential[below] - 1
    return replace(image, layers=(replace(layer, threshold=threshold),)), x, below.tolist()
