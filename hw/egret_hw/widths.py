"""Widths of sums, from the actual weights, so that no sum can overflow (docs/numerics.md, section 3)."""

import numpy as np

from egru.formats import IntFormat


def signed_bits(magnitude: int) -> int:
    """Bits of a two's complement number that holds every integer of at most this magnitude."""
    return int(magnitude).bit_length() + 1


def sum_bound(weights: np.ndarray, events: IntFormat) -> int:
    """Largest magnitude of a sum of weight times event over one row of `weights` (rows x sources).

    It bounds every partial sum as well, whatever the order of the events.
    """
    largest = max(abs(events.lo), abs(events.hi))
    return int(np.abs(weights.astype(np.int64)).sum(axis=1).max(initial=0)) * largest


def event_shape_bits(events: IntFormat) -> int:
    """Bits of a signed number that holds an event of this format."""
    return events.bits if events.signed else events.bits + 1
