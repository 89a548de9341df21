"""Networks and inputs that take a sum to its bound, where a width that is too narrow shows.

Random numbers hardly ever do: half of the products of a random row have the one sign and half the other. So
a row is chosen, and everything that adds to it is steered: each input, and each unit whose events it gets, is
at the end of its range that has the sign of its weight, and otherwise silent.

Units are steered by tables of two values and by biases that outweigh what comes in. Then a unit does not keep
its state (z = 0), and its candidate is one end of the range or the other.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from egru.formats import BIAS_BITS, NARROW_FRAC, STATE_FRAC, STATE_MAX, IntFormat
from egru.image import Layer, NetworkImage
from egru.testing import random_input

#: Gates of a layer, z and r before the candidate.
GATES, CANDIDATE = 3, 2
#: Of the networks: those whose chosen row is wide beside narrow ones, so that it decides on the width.
BINDING_CHANCE = 0.8
#: Of the chosen rows: those of a candidate; those whose weights are at the ends of their range.
CANDIDATE_CHANCE, ENDS_CHANCE = 0.5, 0.5
#: Of the networks: those in which the readout's sum is taken to its bound, and those whose units all fire.
READOUT_CHANCE, ALL_CHANCE = 0.25, 0.15
#: What the weights of the other rows are divided by.
NARROWER = 4
#: Steps of sequences in which the same units fire in each step.
HELD_STEPS = 6
#: How often a steered sequence is played for each stream, so that each bank gets one.
ROUNDS = 2
_BIAS = IntFormat(BIAS_BITS, 0, True)
_ON, _OFF = _BIAS.hi, _BIAS.lo

Sequences = tuple[np.ndarray, ...]


def reach_bounds(
    rng: np.random.Generator, image: NetworkImage, longest: int, streams: int
) -> tuple[NetworkImage, Sequences]:
    """A network like `image`, and sequences that take a sum of it to its bounds.

    Sizes, formats and resets of the events stay; weights, biases, tables and thresholds of the steered layers
    change. `longest` is what a sequence may have of steps.
    """
    if rng.random() < ALL_CHANCE:
        layers = [held(layer, np.ones(layer.spec.units, bool)) for layer in image.layers]
        image = dataclasses.replace(image, layers=tuple(layers))
        return image, _anything(rng, image, min(HELD_STEPS, longest), streams)
    if rng.random() < READOUT_CHANCE:
        return _readout(rng, image, longest, streams)
    place = int(rng.integers(len(image.layers)))
    gate = CANDIDATE if rng.random() < CANDIDATE_CHANCE else int(rng.integers(CANDIDATE))
    row = gate * image.layers[place].spec.units + int(rng.integers(image.layers[place].spec.units))
    layer = _widest(rng, image.layers[place], row)
    if place == 0:
        return _first_layer(rng, image, layer, row, longest, streams)
    sign = 1 if rng.random() < 0.5 else -1
    layers = list(image.layers)
    before = layers[place - 1]
    # Events that come in and events that come back meet in one step only if the layer before fires in each.
    kept = dataclasses.replace(before.spec, state_reset="threshold")
    layers[place - 1] = held(dataclasses.replace(before, spec=kept), sign * layer.input_weight[row] > 0)
    layers[place] = held(layer, sign * layer.recurrent_weight[row] > 0)
    image = dataclasses.replace(image, layers=tuple(layers))
    return image, _anything(rng, image, min(HELD_STEPS, longest), streams)


def _widest(rng: np.random.Generator, layer: Layer, row: int) -> Layer:
    """The layer, mostly with a row that has the largest sums by far."""
    weights = {}
    binding, ends = rng.random() < BINDING_CHANCE, rng.random() < ENDS_CHANCE
    for name, fmt in (
        ("input_weight", layer.spec.input_weight_format),
        ("recurrent_weight", layer.spec.recurrent_weight_format),
    ):
        weight = getattr(layer, name).astype(np.int64)
        chosen = rng.choice([fmt.lo, fmt.hi], weight.shape[1]) if ends else weight[row].copy()
        if binding:
            weight = np.trunc(weight / NARROWER).astype(np.int64)
        weight[row] = chosen
        weights[name] = weight
    return dataclasses.replace(layer, **weights)


def _readout(
    rng: np.random.Generator, image: NetworkImage, longest: int, streams: int
) -> tuple[NetworkImage, Sequences]:
    """The units fire, in every step, whose weights for one class have one sign."""
    weight = image.readout.weight[rng.integers(image.readout.spec.classes)].astype(np.int64)
    sign = 1 if rng.random() < 0.5 else -1
    last = image.layers[-1]
    kept = dataclasses.replace(last.spec, state_reset="threshold")
    last = held(dataclasses.replace(last, spec=kept), sign * weight > 0)
    image = dataclasses.replace(image, layers=(*image.layers[:-1], last))
    return image, _anything(rng, image, longest, streams)


def _anything(rng: np.random.Generator, image: NetworkImage, steps: int, streams: int) -> Sequences:
    """Any inputs: what fires does not depend on them."""
    count = ROUNDS * streams if steps <= HELD_STEPS else streams
    return tuple(random_input(rng, image, steps, density=0.3) for _ in range(count))


def _first_layer(
    rng: np.random.Generator, image: NetworkImage, layer: Layer, row: int, longest: int, streams: int
) -> tuple[NetworkImage, Sequences]:
    """Inputs and events of the first layer add up, first to the upper bound and then to the lower one.

    One input decides in a sequence's first step whether those units fire whose recurrent weight in the row is
    positive, or those whose weight is negative.
    """
    fmt, units = image.input.format, layer.spec.units
    chooser = int(rng.integers(image.input.size))
    positive = layer.recurrent_weight[row] > 0
    weight = layer.input_weight.astype(np.int64)
    candidates = weight[CANDIDATE * units :, chooser]
    size = np.maximum(np.abs(candidates), 1).clip(max=layer.spec.input_weight_format.hi)
    weight[CANDIDATE * units :, chooser] = np.where(positive, size, -size)
    layer = dataclasses.replace(layer, input_weight=weight)
    edge = _edge(layer)
    moved = (weight[CANDIDATE * units :, chooser] * fmt.hi) << layer.input_shift
    layer = _steered(layer, np.where(positive, edge - moved, edge))
    image = dataclasses.replace(image, layers=(layer, *image.layers[1:]))

    first = np.zeros(image.input.size, np.int64)
    first[chooser] = fmt.hi
    sequences = []
    for _ in range(ROUNDS):
        for sign, begin in ((1, first), (-1, np.zeros_like(first))):
            end = np.where(sign * weight[row] > 0, fmt.hi, np.where(sign * weight[row] < 0, fmt.lo, 0))
            steps = [begin, end] if longest > 1 else [end]
            sequences += [np.stack(steps)] * streams
    return image, tuple(sequences)


def held(layer: Layer, on: np.ndarray) -> Layer:
    """The layer, in which the units of the mask `on` fire with the largest payload, and others never do.

    They fire whatever comes in: in every step, or in every other one where the output is subtracted.
    """
    return _steered(layer, np.where(on, _ON, _OFF))


def _steered(layer: Layer, bias: np.ndarray) -> Layer:
    """The layer with these biases of the candidates, which alone decide who fires."""
    spec, units = layer.spec, layer.spec.units
    entries = 1 << spec.table_bits
    upper = np.arange(entries) >= entries // 2
    # With reset "after" the gate r = 0 keeps recurrent sums away from the candidate. With "before" r lets
    # events pass as they are.
    r = _ON if spec.reset == "before" else _OFF
    biases = [np.full(units, _OFF), np.full(units, r), bias, np.zeros(units, np.int64)]
    return dataclasses.replace(
        layer,
        bias=np.clip(np.stack(biases), _BIAS.lo, _BIAS.hi),
        threshold=np.minimum(layer.threshold.astype(np.int64), STATE_MAX - 1),
        sigmoid=np.where(upper, STATE_MAX, 0),
        tanh=np.where(upper, STATE_MAX, -STATE_MAX),
    )


def _edge(layer: Layer) -> int:
    """The least candidate's sum, bias included, whose table index is not negative."""
    k = layer.spec.table_bits

    def least(wanted: int, shift: int) -> int:
        """The least v with rshr(v, shift) >= wanted."""
        return (wanted << shift) - (1 << shift - 1 if shift else 0)

    if layer.spec.reset == "before":
        return least(0, layer.acc_frac - (k - 3))
    # a * 2^15 is to reach what is rounded up to 0, which is a multiple of 2^15 for every table.
    a = least(0, STATE_FRAC + NARROW_FRAC - (k - 3)) >> STATE_FRAC
    return least(a, layer.acc_frac - NARROW_FRAC)
