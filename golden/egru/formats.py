"""Integer number formats, and the one rounding that exists (docs/numerics.md, sections 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.untrusted import brief

#: Fraction of the narrowed sums ``a`` and ``q``.
NARROW_FRAC = 11
#: Bits of the narrowed sums.
NARROW_BITS = 16
#: Fraction of gates, candidate, state and threshold.
STATE_FRAC = 15
#: Largest magnitude of gates, candidate, state and threshold.
STATE_MAX = 32767
#: Bits of a bias.
BIAS_BITS = 32
#: Ends of the range of every chosen fraction (input and weights).
FRAC_RANGE = (0, 12)
#: Ends of the range of a weight's bits.
WEIGHT_BITS_RANGE = (2, 8)
#: Ends of the range of an event payload's bits.
EVENT_BITS_RANGE = (2, 8)
#: Ends of the range of a table's index width.
TABLE_BITS_RANGE = (4, 12)
#: Largest number of inputs, units or classes.
SIZE_MAX = 65535
#: What a reset gate acts on: the recurrent sum ("after"), or the events before it ("before").
RESETS = ("after", "before")
#: What a unit that fired loses: its threshold at once, or its output in the next step.
STATE_RESETS = ("threshold", "output")
#: Largest ``max_steps``: with ``SIZE_MAX`` it keeps every sum of a network inside 64 bits.
STEPS_MAX = 1 << 24


def round_shift(value, shift: int):
    """Round ``value / 2^shift`` half up, as an arithmetic right shift after adding half.

    ``value`` is an int or an integer array, ``shift`` an int >= 0. This is ``rshr`` of
    docs/numerics.md; there is no other rounding of integers.
    """
    if shift == 0:
        return value
    return (value + (1 << (shift - 1))) >> shift


def saturate(value, lo: int, hi: int):
    """Clip an int or an integer array to ``lo .. hi``."""
    if isinstance(value, np.ndarray):
        return np.clip(value, lo, hi)
    return min(max(value, lo), hi)


def saturate_signed(value, bits: int):
    """Clip an int or an integer array to the range of ``bits`` bits, two's complement."""
    return saturate(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def round_half_up(values: np.ndarray) -> np.ndarray:
    """Compute ``floor(v + 1/2)`` of float64 values exactly, as float64.

    Adding a half first would round twice: 0.49999999999999994 + 0.5 is 1.0 in float64.
    """
    below = np.floor(values)
    return below + (values - below >= 0.5)


def as_array(name: str, value: object) -> np.ndarray:
    """Return what numpy makes of a value, or raise EgretError where it makes nothing of it."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError, RecursionError):
        raise EgretError(
            f"{name} must be an array, its rows all of one length, not {brief(type(value))}: {brief(value)}"
        ) from None


def as_integers(name: str, value: object, hint: str = "") -> np.ndarray:
    """Return a value as an array of integers, of whatever type it has, or raise EgretError."""
    array = as_array(name, value)
    if array.dtype.kind not in "iu":
        what = "objects, or numbers beyond 64 bits" if array.dtype == object else array.dtype
        raise EgretError(f"{name} must hold integers, not {what}{hint}")
    return array


@dataclass(frozen=True)
class IntFormat:
    """An integer format: an integer ``v`` of it stands for the real number ``v * 2^-frac``.

    Parameters
    ----------
    bits
        Width, 1 to 32; a signed format needs at least 2.
    frac
        Fraction, 0 to 32.
    signed
        Two's complement if true.
    """

    bits: int
    frac: int
    signed: bool

    def __post_init__(self) -> None:
        if not isinstance(self.signed, bool):
            raise EgretError(f"signed must be true or false, not {brief(self.signed)}")
        low = 2 if self.signed else 1
        kind = "signed" if self.signed else "unsigned"
        if type(self.bits) is not int or not low <= self.bits <= 32:
            raise EgretError(
                f"bits of a format must be an integer {low}..32 ({kind}), not {brief(self.bits)}"
            )
        if type(self.frac) is not int or not 0 <= self.frac <= 32:
            raise EgretError(f"frac of a format must be an integer 0..32, not {brief(self.frac)}")

    @property
    def lo(self) -> int:
        """Smallest integer of the format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest integer of the format."""
        return (1 << (self.bits - self.signed)) - 1

    def quantise(self, values) -> np.ndarray:
        """Turn real values into integers of this format (int64): round half up, then saturate.

        Raises
        ------
        EgretError
            If a value is not a finite real number.
        """
        real = _real("values to quantise", values)
        if not np.isfinite(real).all():
            bad = real[~np.isfinite(real)].flat[0]
            raise EgretError(f"values to quantise must be finite numbers, not {bad}")
        return np.clip(round_half_up(np.ldexp(real, self.frac)), self.lo, self.hi).astype(np.int64)

    def to_real(self, values) -> np.ndarray:
        """Real values (float64) of integers at this format's fraction; raises EgretError for no numbers."""
        return np.ldexp(_real("values", values), -self.frac)


def _real(name: str, values: object) -> np.ndarray:
    array = as_array(name, values)
    # Integers of any length are objects for numpy, and complex numbers and texts are not to become real.
    if array.dtype == object and all(isinstance(item, int | float) for item in array.flat):
        try:
            return array.astype(np.float64)
        except OverflowError:
            raise EgretError(f"{name} must be finite numbers, not {brief(values)}") from None
    if not np.can_cast(array.dtype, np.float64, "same_kind"):
        raise EgretError(f"{name} must be real numbers, not {array.dtype}")
    return array.astype(np.float64)
