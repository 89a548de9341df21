"""What the training loop asks of a task: batches, a loss, and a judgement on the validation part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .selection import Measure
from .team import ALONE, Team


class Step(NamedTuple):
    """What a network did with one batch."""

    loss: Tensor  #: mean over the batch, without any pressure
    spikes: list[Tensor]  #: per layer T x B x H, zero beyond ``lengths``; empty for a network without events
    lengths: Tensor  #: steps of each of the B sequences
    weight: float = 1.0  #: of this process's share of the batch; the mean over a team is 1


class Objective(ABC):
    """A task as the loop sees it. It may carry state from batch to batch, which ends with an epoch."""

    measure: Measure
    #: Every generator that the objective draws from, but the one that `epoch` is given.
    generators: dict[str, torch.Generator]

    @abstractmethod
    def batches_per_epoch(self) -> int:
        """Return how many batches :meth:`epoch` yields."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator) -> Iterator[Any]:
        """Yield one epoch's batches; what a batch is, :meth:`step` alone knows."""

    @abstractmethod
    def step(self, network: nn.Module, batch: Any) -> Step:
        """Run the network on a batch."""

    @abstractmethod
    def judge(self, network: nn.Module) -> tuple[float, float | None]:
        """Return value and activity (None without events) on the validation part, in evaluation mode."""


def whole_loss(
    step: Step, pressure: float, target: float, team: Team = ALONE, *, lift: float = 0.0, floor: float = 0.0
) -> Tensor:
    """Return the loss with activity pressure, ``pressure * max(0, activity - target)``.

    To it comes ``lift * max(0, floor - activity)``: below a floor, silence is pressed upon.
    In a team the mean of all processes' losses, and of their gradients, is that of the whole batch.
    """
    loss = step.loss if team.size == 1 else step.loss * step.weight
    if not (step.spikes and (pressure or lift)):
        return loss
    activity = whole = mean_activity(step.spikes, step.lengths)
    if team.size > 1:
        # An activity counts by its steps; whether there is any pressure, that of the whole batch decides.
        counted = step.lengths.sum() if step.weight else step.lengths.sum() * 0
        activity = activity * counted * team.size / team.total(counted)
        whole = team.total(activity) / team.size
    above = pressure * (whole > target) * (activity - target)
    return loss + above + lift * (whole < floor) * (floor - activity)


def mean_activity(spikes: list[Tensor], lengths: Tensor) -> Tensor:
    """Return the share of units that fire; spikes are T x B x H per layer, zero beyond ``lengths``."""
    steps = lengths.sum()
    return torch.stack([s.sum() / (steps * s.shape[-1]) for s in spikes]).mean()
