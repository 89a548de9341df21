"""A text small enough to be learnt in a second: three letters that mostly follow one another in a ring."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SmallText:
    name: str
    unit: str
    vocabulary: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def input_size(self) -> int:
        return len(self.vocabulary)

    num_classes = input_size

    def part(self, name: str) -> np.ndarray:
        return getattr(self, name)

    def columns(self, part: str, batch: int) -> np.ndarray:
        tokens = self.part(part)
        steps = len(tokens) // batch
        return np.ascontiguousarray(tokens[: steps * batch].reshape(batch, steps).T)


def small_text(unit: str = "character", size: int = 3, seed: int = 0) -> SmallText:
    """The next token is the one after in the ring in nine cases of ten, else any: 0.57 bits for size 3."""
    rng = np.random.default_rng(seed)

    def stream(count: int) -> np.ndarray:
        steps = np.where(rng.random(count) < 0.9, 1, rng.integers(0, size, count))
        return (np.cumsum(steps) % size).astype(np.int64)

    vocabulary = tuple(f"t{i}" for i in range(size))
    return SmallText("small-text", unit, vocabulary, stream(3000), stream(600), stream(600))
