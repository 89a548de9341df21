"""Variations of the training inputs: noise on every value, and another way to wear the same sensor."""

from __future__ import annotations

import torch
from torch import Tensor

from .recipes import Recipe
from .tasks import Task


def rotations(count: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Draw ``count`` rotations (count x 3 x 3) about random axes; angles have ``deviation`` radians."""
    axes = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    x, y, z = (axes * torch.randn(count, 1, generator=generator) * deviation).unbind(1)
    o = torch.zeros_like(x)
    skew = torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=1).view(count, 3, 3)
    return torch.linalg.matrix_exp(skew)


class Augmentation:
    """Varies batches of a task's normalised inputs, as a recipe asks.

    Noise is added to every value. Where a task's channels form vectors in space, each sequence is turned as a
    whole by one random rotation and stretched by one random gain, in physical units.
    """

    def __init__(self, task: Task, recipe: Recipe, generator: torch.Generator) -> None:
        self.noise = recipe.noise
        self.rotation = torch.deg2rad(torch.tensor(recipe.rotation_degrees)).item() if task.vectors else 0.0
        self.gain = recipe.gain if task.vectors else 0.0
        self.vectors = task.vectors
        self.offset = torch.tensor(task.normalisation.offset, dtype=torch.float32)
        self.scale = torch.tensor(task.normalisation.scale, dtype=torch.float32)
        self.generator = generator

    def __call__(self, x: Tensor) -> Tensor:
        """Return a varied copy of ``x`` (T x B x I); padding is varied, too, and means nothing."""
        if self.rotation or self.gain:
            raw = x / self.scale + self.offset
            turned = rotations(x.shape[1], self.rotation, self.generator)
            gain = torch.exp(self.gain * torch.randn(x.shape[1], 1, 1, generator=self.generator))
            for channels in self.vectors:
                raw[:, :, channels] = torch.einsum("tbi,bij->tbj", raw[:, :, channels], turned * gain)
            x = (raw - self.offset) * self.scale
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=self.generator)
        return x
