"""Which epoch of a training is kept, by the validation part alone, and when to stop waiting for a better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .schedules import Phase

NEAR = 0.02  #: values that differ by less are about as good


@dataclass(frozen=True)
class Measure:
    """What a network is judged by."""

    key: str  # in figures: "accuracy"
    larger_is_better: bool
    share: bool = False  # a share 0..1, shown in per cent

    @property
    def name(self) -> str:
        """The measure in words."""
        return self.key.replace("_", " ")

    def at_least(self, value: float, other: float) -> bool:
        """Whether ``value`` is as good as ``other`` or better; never if it is not a number."""
        if math.isnan(other):
            return not math.isnan(value)
        return value >= other if self.larger_is_better else value <= other

    def is_near(self, value: float, top: float) -> bool:
        """Whether a value is about as good as ``top``, or better: to `NEAR`, of a share or of the number."""
        if self.share:
            return value >= top - NEAR
        return value >= top * (1 - NEAR) if self.larger_is_better else value <= top * (1 + NEAR)

    def shown(self, value: float) -> str:
        """Return a value with its measure, for people."""
        return f"{value:.1%}" if self.share else f"{value:.3f} {self.name}"


ACCURACY = Measure("accuracy", larger_is_better=True, share=True)
BITS_PER_CHARACTER = Measure("bits_per_character", larger_is_better=False)
PERPLEXITY = Measure("perplexity", larger_is_better=False)
MEASURES = (ACCURACY, BITS_PER_CHARACTER, PERPLEXITY)


def told(figures: dict) -> str:
    """Return a checkpoint's figures of the validation part as half a sentence."""
    measure = next(m for m in MEASURES if f"validation_{m.key}" in figures)
    value, activity = figures[f"validation_{measure.key}"], figures["validation_activity"]
    text = f"{value:.2%} of" if measure.share else f"{value:.4f} {measure.name} on"
    return f"{text} the validation part" + ("" if activity is None else f" at {activity:.2%} activity")


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; ``value`` and ``activity`` are of the validation part."""

    number: int  # from 1
    loss: float  # mean over the training part, with pressure
    value: float  # of the measure
    activity: float | None  # mean over the layers, 0..1; None for a network without events
    kept: bool  # the best so far
    measure: Measure = ACCURACY
    seconds: float = field(default=0.0, compare=False)  # that the epoch took, by the clock

    @property
    def accuracy(self) -> float:
        """The value, where the measure is accuracy."""
        if self.measure is not ACCURACY:
            raise AttributeError(f"this epoch was judged by {self.measure.name}, not by accuracy")
        return self.value

    def figures(self) -> dict[str, float | None]:
        """Return the figures of a checkpoint whose network is this epoch's."""
        return {
            "epoch": self.number,
            f"validation_{self.measure.key}": self.value,
            "validation_activity": self.activity,
        }


def better(candidate: Epoch, best: Epoch | None, limit: float, history: Sequence[Epoch] = ()) -> bool:
    """Whether an epoch is to be kept: within the activity limit first, then by its value on validation.

    Of two equally good ones within the limit the later is better. Above the limit value counts first, for a
    network that is quiet and wrong is of no use, and then silence: of the epochs about as good as the best
    of the ``history`` (`Measure.is_near`) the quietest is kept.
    """
    if best is None:
        return True
    measure = candidate.measure
    as_good = measure.at_least(candidate.value, best.value)
    if candidate.activity is None or best.activity is None:
        return as_good
    within, best_within = candidate.activity <= limit, best.activity <= limit
    if within != best_within:
        return within
    if within:
        return as_good
    values = [epoch.value for epoch in (*history, best, candidate) if not math.isnan(epoch.value)]
    if not values:
        return False
    top = max(values) if measure.larger_is_better else min(values)
    near, best_near = measure.is_near(candidate.value, top), measure.is_near(best.value, top)
    if near != best_near:
        return near
    return candidate.activity <= best.activity if near else as_good


def within_limit(epoch: Epoch, limit: float) -> bool:
    """Whether an epoch meets the activity limit; one of a network without events always does."""
    return epoch.activity is None or epoch.activity <= limit


def told_above_limit(figures: dict, limit: float) -> str | None:
    """Return what to say of figures whose activity is above the limit, None if it is not."""
    activity = figures["validation_activity"]
    if isinstance(activity, list):
        activity = sum(activity) / len(activity)
    if activity is None or activity <= limit:
        return None
    return (
        f"no epoch was within the activity limit of {limit:.2%}: of those about as good as the best, the "
        f"quietest is kept, at {activity:.2%}; more epochs, more pressure or a higher limit "
        "(--set activity_limit=...) would help"
    )


def waited_enough(number: int, best: Epoch, phase: Phase, patience: int) -> bool:
    """Whether ``patience`` epochs under full pressure have passed since the best one; never if it is 0."""
    return patience > 0 and number - max(best.number, phase.ramp_epochs) >= patience
