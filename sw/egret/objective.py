"""What the training loop asks of a task: batches, a loss, and a judgement on the validation part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .selection import Measure


class Step(NamedTuple):
    """What a network did with one batch."""

    loss: Tensor  #: mean over the batch, without any pressure
    spikes: list[Tensor]  #: per layer T x B x H, zero beyond ``lengths``; empty for a network without events
    lengths: Tensor  #: steps of each of the B sequences


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


def mean_activity(spikes: list[Tensor], lengths: Tensor) -> Tensor:
    """Return the share of units that fire; spikes are T x B x H per layer, zero beyond ``lengths``."""
    steps = lengths.sum()
    return torch.stack([s.sum() / (steps * s.shape[-1]) for s in spikes]).mean()
