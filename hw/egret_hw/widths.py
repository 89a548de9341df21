"""Widths of sums, from the actual weights, so that no sum can overflow (docs/numerics.md, section 3)."""

from dataclasses import dataclass

import numpy as np

from egru.formats import IntFormat
from egru.image import Layer

from .geometry import CANDIDATE
from .multiplier import PairMultiplier


def signed_bits(magnitude: int) -> int:
    """Bits of a two's complement number that holds every integer of at most this magnitude."""
    return int(magnitude).bit_length() + 1


def sum_bounds(weights: np.ndarray, events: IntFormat) -> np.ndarray:
    """Largest magnitude of a sum of weight times event, for each row of `weights` (rows x sources).

    It bounds every partial sum as well, whatever the order of the events.
    """
    largest = max(abs(events.lo), abs(events.hi))
    return np.abs(weights.astype(np.int64)).sum(axis=1) * largest


def event_shape_bits(events: IntFormat) -> int:
    """Bits of a signed number that holds an event of this format."""
    return events.bits if events.signed else events.bits + 1


@dataclass(frozen=True)
class LayerWidths:
    """Widths and shifts of a layer's sums.

    Input and recurrent events have different fractions. The update wants both kinds of sums at the layer's
    fraction; so much of the two shifts as they have in common is made there, once per unit. The rest is made
    on an event's value, once per event; where weights are so narrow that two lanes share a multiplier, it
    is made on the products instead, for a wider value would not fit. Pairs are (input, recurrent).

    Attributes
    ----------
    value_shifts, product_shifts : of an event's value, of a product; at most one of the four is not 0
    common_shift : of a sum
    value_bits : signed width of an event value, shifted by `value_shifts`
    sum_bits : signed width that holds every sum and every partial sum
    """

    value_shifts: tuple[int, int]
    product_shifts: tuple[int, int]
    common_shift: int
    value_bits: int
    sum_bits: int

    @classmethod
    def of(cls, layer: Layer, *, weight_bits: int, compact: bool = False) -> "LayerWidths":
        """Work them out from the actual weights, which the memory holds in `weight_bits`."""
        common = min(layer.input_shift, layer.recurrent_shift)
        shifts = layer.input_shift - common, layer.recurrent_shift - common
        events = layer.input_format, layer.event_format
        bits = max(event_shape_bits(event) for event in events)
        if PairMultiplier.shares(weight_bits=weight_bits, value_bits=bits, compact=compact):
            value_shifts, product_shifts = (0, 0), shifts
        else:
            value_shifts, product_shifts = shifts, (0, 0)
            bits = max(event_shape_bits(event) + shift for event, shift in zip(events, shifts, strict=True))

        inputs = sum_bounds(layer.input_weight, layer.input_format) << shifts[0]
        recurrent = sum_bounds(layer.recurrent_weight, layer.event_format) << shifts[1]
        gates = CANDIDATE * layer.spec.units  # rows of z and r: both kinds of sums meet in one accumulator
        bound = max((inputs + recurrent)[:gates].max(), inputs[gates:].max(), recurrent[gates:].max())
        return cls(value_shifts, product_shifts, common, bits, signed_bits(int(bound)))
