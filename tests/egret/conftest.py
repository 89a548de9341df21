"""A task small enough to be learnt in a second."""

import numpy as np
import pytest
import torch

from egret.recipes import Recipe
from egret.tasks import Task
from egret.tasks.task import SPLITS

torch.set_num_threads(1)


@pytest.fixture
def small_task() -> Task:
    """Two classes of short sequences of 3 channels: the mean of the first channel is +1 or -1."""
    rng = np.random.default_rng(5)
    count = {"train": 96, "validation": 32, "test": 32}
    raw, y = [], []
    for label in np.arange(sum(count.values())) % 2:
        x = rng.normal(size=(rng.integers(3, 12), 3))
        x[:, 0] += 2 * label - 1
        raw.append(x.astype(np.float32))
        y.append(label)
    edges = np.cumsum([0, *count.values()])
    parts = {name: np.arange(edges[i], edges[i + 1]) for i, name in enumerate(SPLITS)}
    return Task.from_raw("small", ("low", "high"), raw, np.array(y), parts)


@pytest.fixture
def small_recipe() -> Recipe:
    return Recipe(units=8, epochs=6, batch_size=16, learning_rate=2e-2, qat_epochs=2, activity_limit=1.0)
