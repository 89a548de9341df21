"""What changes over the steps of a training: learning rate and activity pressure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """The part of a recipe that differs between float training and fine-tuning."""

    epochs: int
    learning_rate: float
    ramp: tuple[float, float]  # shares of the epochs; (0, 0) presses from the start
    start_counts: bool = False  # whether the network as it comes may be kept, as epoch 0

    @property
    def ramp_epochs(self) -> int:
        """Epochs until the pressure is full."""
        return math.ceil(self.ramp[1] * self.epochs - 1e-9)


def pressure_at(phase: Phase, progress: float, full: float) -> float:
    """Return the weight of the activity pressure at ``progress`` (0..1) of a phase."""
    start, end = phase.ramp
    if progress < start:
        return 0.0
    return full if progress >= end else full * (progress - start) / (end - start)


def learning_rate_at(peak: float, progress: float, warmup: float) -> float:
    """Return the learning rate at ``progress`` (0..1): a linear rise, then half a cosine to zero."""
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))
