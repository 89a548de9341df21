"""Which epoch of a training is kept, by the validation part alone, and when to stop waiting for a better."""

from __future__ import annotations

from dataclasses import dataclass, field

from .schedules import Phase


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
        return value >= other if self.larger_is_better else value <= other

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


def better(candidate: Epoch, best: Epoch | None, limit: float) -> bool:
    """Whether an epoch is to be kept: within the activity limit first, then by its value on validation.

    Of two epochs above the limit the quieter is better; of two equally good ones within it, the later.
    """
    if best is None:
        return True
    as_good = candidate.measure.at_least(candidate.value, best.value)
    if candidate.activity is None or best.activity is None:
        return as_good
    within, best_within = candidate.activity <= limit, best.activity <= limit
    if within != best_within:
        return within
    return as_good if within else candidate.activity <= best.activity


def waited_enough(number: int, best: Epoch, phase: Phase, patience: int) -> bool:
    """Whether ``patience`` epochs under full pressure have passed since the best one; never if it is 0."""
    return patience > 0 and number - max(best.number, phase.ramp_epochs) >= patience
