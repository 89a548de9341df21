"""Batches of sequences of similar length, so that little time goes into padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .tasks import Sequences

POOL = 8  #: batches; sequences are sorted by length within a pool of this many


def bucketed(sequences: Sequences, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the indices of one epoch's batches of ``size`` (the last of a pool may be smaller).

    Every sequence comes exactly once. Membership and order of the batches are random; within a pool,
    neighbours in length stay together.
    """
    order = rng.permutation(len(sequences))
    lengths = sequences.lengths
    batches: list[np.ndarray] = []
    for first in range(0, len(order), POOL * size):
        pool = order[first : first + POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches.extend(pool[i : i + size] for i in range(0, len(pool), size))
    for i in rng.permutation(len(batches)):
        yield batches[i]


def batches_per_epoch(count: int, size: int) -> int:
    """Return how many batches :func:`bucketed` yields for ``count`` sequences."""
    whole, rest = divmod(count, POOL * size)
    return whole * POOL + -(-rest // size)
