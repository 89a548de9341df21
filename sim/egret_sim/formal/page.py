"""The arithmetic of docs/numerics.md, written anew for proofs: nothing of the hardware's widths is in it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Mux, Value

from egru.formats import IntFormat
from egru.image import Layer

Z, R, CANDIDATE = range(3)
"""Gates, in the order of an image's rows."""


def rshr(value: Value, shift: int) -> Value:
    """Section 1: floor((value + 2^(shift-1)) / 2^shift), half up."""
    return (value + (1 << (shift - 1))) >> shift if shift else value


def sat(value: Value, bits: int) -> Value:
    """Section 1: `value` limited to a signed number of so many bits."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return Mux(value < low, low, Mux(value > high, high, value))


def within(value: Value, low: int, high: int) -> Value:
    """Whether low <= value <= high."""
    return (value >= low) & (value <= high)


Extremes = tuple[Any, Any]
"""The least and the largest value: integers, or values of the hardware."""


def of_product(weight: Any, events: IntFormat, shift: int = 0) -> Extremes:
    """Section 3: extremes of weight times event, which may be there or not."""
    for_lo, for_hi = (weight * events.lo) << shift, (weight * events.hi) << shift
    return _least(for_lo, for_hi), -_least(-for_lo, -for_hi)


def extremes(weights: Iterable, events: IntFormat, shift: int = 0) -> Extremes:
    """Section 3: extremes of a sum over sources, of which each has an event or none."""
    return plus(*(of_product(weight, events, shift) for weight in weights))


def fits(bounds: Extremes, bits: int) -> Value:
    """Whether a signed number of so many bits holds all of what lies between the bounds."""
    return (bounds[0] >= -(1 << (bits - 1))) & (bounds[1] < 1 << (bits - 1))


def bits_for(bounds: Iterable[Extremes]) -> int:
    """Bits of the narrowest signed number that holds all of what lies between these."""
    bits = 1
    for low, high in bounds:
        while not fits((low, high), bits):
            bits += 1
    return bits


def plus(*bounds: Extremes) -> Extremes:
    """Bounds of a sum of numbers with these bounds."""
    return sum(low for low, _ in bounds), sum(high for _, high in bounds)


def times(bounds: Extremes, count: int) -> Extremes:
    """Bounds of so many numbers' sum."""
    return bounds[0] * count, bounds[1] * count


def sum_bounds(layer: Layer, inputs: Sequence, recurrent: Sequence) -> list[list[Extremes]]:
    """Bounds of each sum of a layer's accumulators, for each unit: z, r, candidate (and its recurrent part).

    `inputs[gate * N + unit]` and `recurrent[...]` are rows of weights. A sum is at the smaller of the two
    shifts, which the update makes up for. With `reset` "before" inputs and gated events meet in one sum.
    """
    units = layer.spec.units
    common = min(layer.input_shift, layer.recurrent_shift)
    found = []
    for unit in range(units):
        parts = []
        for gate in (Z, R, CANDIDATE):
            row = gate * units + unit
            parts.append(
                (
                    extremes(inputs[row], layer.input_format, layer.input_shift - common),
                    extremes(recurrent[row], layer.event_format, layer.recurrent_shift - common),
                )
            )
        apart = layer.spec.reset == "after"
        candidate = list(parts[CANDIDATE]) if apart else [plus(*parts[CANDIDATE])]
        found.append([plus(*parts[Z]), plus(*parts[R]), *candidate])
    return found


def own_sum_bounds(layer: Layer) -> list[list[Extremes]]:
    """The same of the layer's own weights."""
    return sum_bounds(layer, _rows(layer.input_weight), _rows(layer.recurrent_weight))


def _rows(weights: np.ndarray) -> list[list[int]]:
    return [[int(weight) for weight in row] for row in weights]


def _least(one, other):
    """The least of two numbers and of zero."""
    if isinstance(one, int):
        return min(0, one, other)
    least = Mux(one < other, one, other)
    return Mux(least < 0, least, 0)


def hull(bounds: Iterable[Extremes]) -> Extremes:
    """The least and the largest of all."""
    bounds = list(bounds)
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def bias_bounds(layer: Layer) -> list[Extremes]:
    """The least and the largest bias of z, r and the candidate's part or parts, without halves."""
    rows = [[int(number) for number in row] for row in layer.bias]
    if layer.spec.reset == "before":
        rows = [*rows[:2], [one + other for one, other in zip(rows[2], rows[3], strict=True)]]
    return [(min(row), max(row)) for row in rows]
