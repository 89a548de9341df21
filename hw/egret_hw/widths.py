"""Widths of sums, from the actual weights, so that no sum can overflow (docs/numerics.md, section 3)."""

from dataclasses import dataclass

import numpy as np

from egru.formats import IntFormat
from egru.image import Layer

from .geometry import CANDIDATE


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
    fraction; so much of the two shifts as they have in common is made there, once per unit, and the rest on
    an event's value, once per event.

    Attributes
    ----------
    input_shift, recurrent_shift : of an event's value; one of them is 0
    common_shift : of a sum
    value_bits : signed width of a shifted event value
    sum_bits : signed width that holds every sum and every partial sum
    """

    input_shift: int
    recurrent_shift: int
    common_shift: int
    value_bits: int
    sum_bits: int

    @classmethod
    def of(cls, layer: Layer) -> "LayerWidths":
        """Work them out from the actual weights."""
        common = min(layer.input_shift, layer.recurrent_shift)
        input_shift, recurrent_shift = layer.input_shift - common, layer.recurrent_shift - common
        value_bits = max(
            event_shape_bits(layer.input_format) + input_shift,
            event_shape_bits(layer.event_format) + recurrent_shift,
        )
        inputs = sum_bounds(layer.input_weight, layer.input_format) << input_shift
        recurrent = sum_bounds(layer.recurrent_weight, layer.event_format) << recurrent_shift
        gates = (
            CANDIDATE * layer.spec.units
        )  # rows of z and r, whose two kinds of sums meet in one accumulator
        bound = max((inputs + recurrent)[:gates].max(), inputs[gates:].max(), recurrent[gates:].max())
        return cls(input_shift, recurrent_shift, common, value_bits, signed_bits(int(bound)))
