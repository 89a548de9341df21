"""The objective of labelled sequences: cross entropy of the label, judged by accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .augmentation import Augmentation
from .batches import batches_per_epoch, bucketed
from .modules import evaluate_module
from .objective import Objective, Step
from .recipes import Recipe
from .selection import ACCURACY
from .tasks import Task


class Classification(Objective):
    """Labelled sequences of any lengths; a batch is an array of their indices."""

    measure = ACCURACY

    def __init__(self, task: Task, recipe: Recipe, seed: int) -> None:
        self.task = task
        self.recipe = recipe
        self.generators = {"augmentation": torch.Generator().manual_seed(seed)}
        self.augment = Augmentation(task, recipe, self.generators["augmentation"])

    def batches_per_epoch(self) -> int:
        """Return how many batches an epoch has."""
        return batches_per_epoch(len(self.task.train), self.recipe.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the indices of every batch; neighbours in length come together."""
        return bucketed(self.task.train, self.recipe.batch_size, rng)

    def step(self, network: nn.Module, batch: np.ndarray) -> Step:
        """Classify varied copies of the batch's sequences."""
        x, lengths = (torch.from_numpy(a) for a in self.task.train.padded(batch))
        output = network(self.augment(x), lengths)
        labels = torch.from_numpy(self.task.train.y[batch])
        loss = functional.cross_entropy(
            output.logits.float(), labels, label_smoothing=self.recipe.label_smoothing
        )
        return Step(loss, list(getattr(output, "spikes", ()) or ()), lengths)

    def judge(self, network: nn.Module) -> tuple[float, float | None]:
        """Return accuracy and activity on the validation part."""
        seen = evaluate_module(network, self.task.validation)
        return seen.accuracy, seen.mean_activity if seen.activity else None
