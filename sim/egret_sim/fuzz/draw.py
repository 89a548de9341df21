"""Draws cases: whole accelerators, and what is played to them, with the ends of every range among them.

A seed and a number give the same case on every machine and in every order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from egret_hw.config import LANES_MAX, STREAMS_MAX, AcceleratorConfig
from egret_hw.geometry import GATES
from egret_sim.cosimulation import Stalls
from egru.image import NetworkImage
from egru.integer import IntegerNetwork
from egru.options import RESETS, STATE_RESETS
from egru.testing import random_image, random_input

from .case import Case, Phase
from .extremes import reach_bounds
from .forms import draw_form, draw_loads
from .model_points import potentials

#: Units of a layer, and inputs.
SIZE_MAX = 300
#: Most sizes are below this, so that most accelerators build and run quickly.
SMALL_MAX = 24
#: Most tiles have at most so many lanes, for the same reason.
FEW_LANES = 12
#: Share of the networks with one size of up to SIZE_MAX, and share of those with up to LANES_MAX lanes.
LARGE_CHANCE = 0.1
#: Share of the tiles with about three lanes for each unit, where rows of one word begin.
ONE_WORD_CHANCE = 0.15
#: Share of the readouts in which all classes are alike, so that their logits are equal.
TIES_CHANCE = 0.08
#: Share of the networks taken as they come, silent layers or not, and draws until one is taken anyway.
SILENT_CHANCE, DRAWS_MAX = 0.03, 20
CLASSES_MAX = 24
#: Steps of one sequence at most.
LENGTH_MAX = 120
#: Share of the networks with thresholds at, or next to, potentials that they reach, and of their units.
NEAR_CHANCE, NEAR_UNITS = 0.3, 0.5
#: Share of the networks that have a sum which is taken to its bounds.
BOUNDS_CHANCE = 0.4
#: Names of the random numbers that forms and such thresholds are drawn from, and those sums.
FORMS, BOUNDS = 1, 2
#: Cycles that a case may take, by a rough estimate, for each step that was asked for: a large network gets
#: fewer steps.
CYCLES_PER_STEP = 400


def draw_case(seed: int, number: int, steps: int) -> Case:
    """Case ``number`` of a seed, with about ``steps`` steps, or fewer where a step takes many cycles."""
    case = _draw(seed, number, steps)
    rng = np.random.default_rng([seed, number, BOUNDS])
    return _with_bounds(rng, case) if rng.random() < BOUNDS_CHANCE else case


def draw_bounded_case(seed: int, number: int) -> Case:
    """Case ``number`` of a seed, with nothing but what takes a sum to its bounds."""
    case = _with_bounds(np.random.default_rng([seed, number, BOUNDS]), _draw(seed, number, 0))
    return dataclasses.replace(case, phases=case.phases[:1])


def _with_bounds(rng: np.random.Generator, case: Case) -> Case:
    """The case with a network that has a sum at its bounds in a phase before the others."""
    image, sequences = reach_bounds(rng, case.image, _longest(case.image), case.config.streams)
    phase = Phase(sequences, seed=int(rng.integers(1 << 31)))
    return dataclasses.replace(case, image=image, phases=(phase, *case.phases))


def _draw(seed: int, number: int, steps: int) -> Case:
    rng = np.random.default_rng([seed, number])
    image = draw_image(rng)
    config = draw_config(rng, image)
    resolved = config.resolve(image)
    cycles = 60.0
    for layer, lanes, update in zip(image.layers, resolved.lanes, resolved.update_lanes, strict=True):
        spec = layer.spec
        words = -(-GATES * spec.units // lanes)
        cycles = max(cycles, (spec.inputs + spec.units) / 2 * words + spec.units / update + 40)
    wanted = max(60, min(steps, int(steps * CYCLES_PER_STEP / cycles)))
    phases = draw_phases(rng, image, wanted)
    # What follows has random numbers of its own, so that it changes nothing of what comes before.
    rng = np.random.default_rng([seed, number, FORMS])
    config = draw_form(rng, image, config)
    if config.weights == "loaded":
        phases = draw_loads(rng, phases)
    if rng.random() < NEAR_CHANCE:
        image = near_thresholds(rng, image)
    return Case(image, config, phases)


def draw_image(rng: np.random.Generator) -> NetworkImage:
    """A network of any shape and options. Few have a silent layer, behind which there is little to see."""
    for _ in range(DRAWS_MAX):
        image = _any_image(rng)
        if rng.random() < SILENT_CHANCE or _fires(rng, image):
            break
    return image


def _fires(rng: np.random.Generator, image: NetworkImage) -> bool:
    """Whether every layer sends something for random inputs."""
    steps = min(12, _longest(image))
    trace = IntegerNetwork(image).run(random_input(rng, image, steps, density=0.3, batch=16))
    return all(events.any() for events in trace.events)


def near_thresholds(rng: np.random.Generator, image: NetworkImage) -> NetworkImage:
    """The network with thresholds where they decide: at a unit's potential, one below it, or one above.

    Each is next to the potential that its unit has most often. The network stays as it was where a layer
    would fall silent.
    """
    layers = list(image.layers)
    x = random_input(rng, image, min(12, _longest(image)), density=0.3, batch=16)
    x[:, :4] = 0
    for place, layer in enumerate(layers):
        trace = IntegerNetwork(dataclasses.replace(image, layers=tuple(layers))).run(x)
        reached = potentials(layer, trace.events[place], trace.states[place]).reshape(-1, layer.spec.units)
        low, high = layer.spec.threshold_range
        threshold = layer.threshold.copy()
        for unit in np.flatnonzero(rng.random(layer.spec.units) < NEAR_UNITS):
            values, counts = np.unique(reached[:, unit], return_counts=True)
            counts[(values < low) | (values > high)] = 0
            if counts.any():
                wanted = values[np.argmax(counts)] + rng.integers(-1, 2)
                threshold[unit] = np.clip(wanted, low, high)
        layers[place] = dataclasses.replace(layer, threshold=threshold)
    changed = dataclasses.replace(image, layers=tuple(layers))
    return changed if _fires(rng, changed) else image


def _longest(image: NetworkImage) -> int:
    """Steps of the longest sequence that may be played."""
    readout = image.readout.spec
    return min(LENGTH_MAX, readout.max_steps) if readout.mode == "mean" else LENGTH_MAX


def _any_image(rng: np.random.Generator) -> NetworkImage:
    large = rng.random() < LARGE_CHANCE
    count = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.28, 0.12, 0.05]))
    units = [_size(rng, SMALL_MAX) for _ in range(count)]
    inputs = _size(rng, SMALL_MAX)
    if large:
        place = int(rng.integers(count + 1))
        if place == count:
            inputs = _size(rng, SIZE_MAX)
        else:
            units[place] = _size(rng, SIZE_MAX)
    threshold = [(0.0, 0.5), (0.0, 0.0), (1.0, 1.0), (0.02, 0.3), (0.0, 1.0)]
    activity = float(rng.choice([0.0, 0.05, 0.3, 1.0])) if rng.random() < 0.35 else None
    wide = rng.random() < 0.35
    image = random_image(
        rng,
        inputs=inputs,
        units=units,
        classes=_log_uniform(rng, 1, CLASSES_MAX),
        max_steps=int(rng.choice([1, 2, 5, LENGTH_MAX, 4096, 1 << 24])),
        weight_bits=int(rng.integers(2, 9)) if rng.random() < 0.4 else None,
        any_frac=wide,
        threshold=threshold[rng.choice(len(threshold), p=[0.35, 0.15, 0.05, 0.25, 0.2])],
        activity=activity,
        extreme=bool(rng.random() < 0.25),
        random_tables=bool(activity is None and rng.random() < 0.25),
        name="fuzz",
    )
    same = rng.random() < 0.5
    first = _options(rng)
    layers = []
    for layer in image.layers:
        options = first if same else _options(rng)
        layers.append(dataclasses.replace(layer, spec=dataclasses.replace(layer.spec, **options)))
    readout = image.readout
    if rng.random() < TIES_CHANCE:
        rows = np.zeros(readout.spec.classes, np.int64)
        readout = dataclasses.replace(readout, weight=readout.weight[rows], bias=readout.bias[rows])
    return dataclasses.replace(image, layers=tuple(layers), readout=readout)


def _options(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "reset": RESETS[rng.integers(len(RESETS))],
        "state_reset": STATE_RESETS[rng.integers(len(STATE_RESETS))],
    }


def draw_config(rng: np.random.Generator, image: NetworkImage) -> AcceleratorConfig:
    """Any way to build the accelerator of an image."""
    lanes, updates = [], []
    wide = rng.random() < LARGE_CHANCE
    for layer in image.layers:
        count = _size(rng, LANES_MAX if wide else FEW_LANES)
        row = GATES * layer.spec.units
        if row <= LANES_MAX and rng.random() < ONE_WORD_CHANCE:
            count = int(np.clip(row + rng.integers(-1, 2), 1, LANES_MAX))
        most = max(1, min(layer.spec.units, count // GATES))
        lanes.append(count)
        updates.append(most if rng.random() < 0.3 else _log_uniform(rng, 1, most))
    return AcceleratorConfig(
        lanes=tuple(lanes),
        update_lanes=tuple(updates),
        readout_lanes=None if rng.random() < 0.3 else _log_uniform(rng, 1, LANES_MAX if wide else FEW_LANES),
        queue_depth=int(
            rng.choice([1, 2, 3, 4, 16, 17, 40, 4096], p=[0.2, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1])
        ),
        streams=1 if rng.random() < 0.5 else int(rng.integers(2, STREAMS_MAX + 1)),
    )


def draw_phases(rng: np.random.Generator, image: NetworkImage, steps: int) -> tuple[Phase, ...]:
    """Phases with about ``steps`` steps together: with and without stalls, and some cut off by a reset."""
    kinds = rng.permutation(["free", "stalled", "stalled", "single", "reset", "reset", "reset"])
    share = {"free": 0.4, "stalled": 0.2, "single": 0.1, "reset": 0.04}
    phases = []
    for kind in kinds:
        wanted = max(2, round(steps * share[kind]))
        sequences = _sequences(rng, image, wanted, single=kind == "single")
        stalled = kind == "stalled" or rng.random() < 0.3
        events = sum(int(np.count_nonzero(x)) for x in sequences)
        tokens = events + sum(len(x) + 1 for x in sequences)
        cut = kind == "reset"
        phases.append(
            Phase(
                sequences=sequences,
                seed=int(rng.integers(1 << 31)),
                source=_stalls(rng) if stalled and rng.random() < 0.7 else None,
                sink=_stalls(rng) if stalled and rng.random() < 0.7 else None,
                reset_tokens=int(rng.integers(1, tokens + 1)) if cut else 0,
                reset_delay=int(rng.integers(200)) if cut and rng.random() < 0.5 else 0,
            )
        )
    return tuple(phases)


def _sequences(
    rng: np.random.Generator, image: NetworkImage, steps: int, *, single: bool
) -> tuple[np.ndarray, ...]:
    longest = _longest(image)
    sequences: list[np.ndarray] = []
    left = steps
    while left > 0:
        length = 1 if single or rng.random() < 0.1 else _log_uniform(rng, 1, longest)
        if not single and rng.random() < 0.1:
            length = longest
        length = min(length, left)
        left -= length
        density = rng.choice([0.0, 0.02, 0.1, 0.3, rng.random(), 1.0], p=[0.08, 0.2, 0.27, 0.2, 0.2, 0.05])
        sequences.append(random_input(rng, image, length, density=float(density)))
    return tuple(sequences)


def _stalls(rng: np.random.Generator) -> Stalls:
    """Gaps of any kind; long ones are rare, so that a phase does not only wait."""
    kinds: Sequence[tuple[int, int]] = [(16, 1023), (64, 63), (128, 7), (255, 1), (255, 0), (8, 4095)]
    chance, mask = kinds[int(rng.integers(len(kinds)))]
    return Stalls(chance, mask)


def _size(rng: np.random.Generator, high: int) -> int:
    """A number of 1..high: its ends in one draw of ten, otherwise small ones more often."""
    if rng.random() < 0.1:
        return 1 if rng.random() < 0.5 else high
    return _log_uniform(rng, 1, high)


def _log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    return min(high, int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))))
