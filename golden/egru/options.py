"""The choices that make one EGRU variant; see `Options`."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

from egru.errors import EgretError
from egru.formats import RESETS, STATE_RESETS
from egru.untrusted import brief

KERNELS = ("auto", "dense", "sparse")  #: what computes a layer; see `egru.EGRU`
_LARGEST = 10**300  # the range of floating point ends not far beyond


@dataclass(frozen=True)
class Options:
    """Variant of the unit, and shape of its surrogate gradient.

    Parameters
    ----------
    reset : "after" (the authors' kernels: r * (R_g y + b)) or "before" (paper, eq. 1: R_g (r * y)).
    state_reset : "threshold" (a unit that fires loses theta in the same step) or "output" (paper, eq. 2:
        the output is subtracted in the next step).
    gamma : height of the surrogate gradient at the threshold, > 0.
    eps : slope of the surrogate gradient, > 0; its support is 1/eps to either side of the threshold.
    zoneout : p within [0, 1), the share of the old state that a step keeps whatever the update gate says:
        z = p + (1 - p) * sigmoid(...). It is what a network trained with zoneout (a random p of the units
        keep their state) computes in evaluation, the expected update.

    Raises EgretError, naming the parameter, for any other value.
    """

    reset: str = "after"
    state_reset: str = "threshold"
    gamma: float = 0.7
    eps: float = 1.0
    zoneout: float = 0.0

    def __post_init__(self) -> None:
        """Check every value once, at the border."""
        for name, choices in (("reset", RESETS), ("state_reset", STATE_RESETS)):
            check_choice(name, getattr(self, name), choices)
        for name in ("gamma", "eps", "zoneout"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        for name in ("gamma", "eps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise EgretError(f"{name} must be finite and greater than 0, not {brief(value)}")
        if not 0 <= self.zoneout < 1:
            raise EgretError(f"zoneout must be at least 0 and less than 1, not {brief(self.zoneout)}")


def number(name: str, value: float) -> float:
    """Return value as a number of Python's own, which those of numpy become, or raise an error naming it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {brief(value)}")
    if isinstance(value, Integral) and abs(int(value)) > _LARGEST:
        raise EgretError(f"{name} must be a finite number, not {brief(value)}")
    return int(value) if isinstance(value, Integral) else float(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of some words, or raise EgretError."""
    if not isinstance(value, str) or value not in choices:
        raise EgretError(f"{name} must be one of {choices}, not {brief(value)}")
    return value


def check_kernel(kernel: str) -> str:
    """Return ``kernel`` if there is one of that name, else raise EgretError."""
    return check_choice("kernel", kernel, KERNELS)
