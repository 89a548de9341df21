"""The tables of sigmoid and tanh (docs/numerics.md, section 4)."""

from __future__ import annotations

import numpy as np

from egru.errors import EgretError
from egru.formats import STATE_FRAC, STATE_MAX, TABLE_BITS_RANGE, round_half_up
from egru.untrusted import brief


def _indices(table_bits: int) -> np.ndarray:
    low, high = TABLE_BITS_RANGE
    if type(table_bits) is not int or not low <= table_bits <= high:
        raise EgretError(f"table_bits must be an integer {low}..{high}, not {brief(table_bits)}")
    half = 1 << (table_bits - 1)
    return np.arange(-half, half, dtype=np.float64)


def sigmoid_table(table_bits: int) -> np.ndarray:
    """Sigmoid over [-8, 8): ``2^table_bits`` int16 entries at fraction 15, by ascending signed index."""
    x = np.ldexp(_indices(table_bits), 4 - table_bits)
    entries = round_half_up(np.ldexp(1.0 / (1.0 + np.exp(-x)), STATE_FRAC))
    return np.minimum(entries, STATE_MAX).astype(np.int16)


def tanh_table(table_bits: int) -> np.ndarray:
    """Tanh over [-4, 4): ``2^table_bits`` int16 entries at fraction 15, by ascending signed index."""
    x = np.ldexp(_indices(table_bits), 3 - table_bits)
    entries = round_half_up(np.ldexp(np.tanh(x), STATE_FRAC))
    return np.clip(entries, -STATE_MAX, STATE_MAX).astype(np.int16)
