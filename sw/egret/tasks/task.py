"""A task: labelled sequences in three parts, and how their inputs were normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError

INPUT_BITS = 8  #: the chip's input word
INPUT_FRAC = 5  #: so that a signed input word spans -4 .. +3.97
INPUT_LIMIT = 4.0  #: normalised inputs are clipped here, where the input word ends


SPLITS = ("train", "validation", "test")


def check_split(name: str) -> str:
    """Return ``name`` if a part of a task is called so, else raise EgretError."""
    if name not in SPLITS:
        raise EgretError(f"split must be one of {', '.join(SPLITS)}, not {name!r}")
    return name


@dataclass(frozen=True)
class Sequences:
    """Labelled sequences of one part of a task.

    Attributes
    ----------
    x
        One float32 array T_i x I per sequence, normalised.
    y
        int64 labels, one per sequence.
    """

    x: tuple[np.ndarray, ...]
    y: np.ndarray

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise EgretError(
                f"sequences and labels must be equally many, not {len(self.x)} and {len(self.y)}"
            )
        if not len(self.x):
            raise EgretError("a part of a task must hold at least one sequence")
        size = self.x[0].shape[-1]
        for number, x in enumerate(self.x):
            if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] != size:
                raise EgretError(
                    f"sequence {number} must have the shape T x {size} with T >= 1, not {x.shape}"
                )
            if not np.isfinite(x).all():
                raise EgretError(f"sequence {number} must hold finite numbers only")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def lengths(self) -> np.ndarray:
        """Steps of every sequence, int64."""
        return np.array([len(x) for x in self.x], dtype=np.int64)

    def subset(self, indices: Sequence[int] | np.ndarray) -> Sequences:
        """Return the sequences at ``indices``, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        return Sequences(tuple(self.x[i] for i in indices), self.y[indices])

    def padded(self, indices: Sequence[int] | np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(x, lengths)``: x is T x B x I float32, zero beyond each sequence's length."""
        chosen = self.x if indices is None else [self.x[i] for i in indices]
        lengths = np.array([len(x) for x in chosen], dtype=np.int64)
        out = np.zeros((int(lengths.max()), len(chosen), chosen[0].shape[1]), dtype=np.float32)
        for b, x in enumerate(chosen):
            out[: len(x), b] = x
        return out, lengths


@dataclass(frozen=True)
class Normalisation:
    """Per-channel constants: ``normalised = (raw - offset) * scale``, clipped to +-4.

    The constants are decimal numbers of few digits, and the arithmetic is one float64 subtraction and one
    multiplication, so that every machine gets the same input words.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def measured_on(cls, raw: Sequence[np.ndarray]) -> Normalisation:
        """Constants that give every channel mean 0 and deviation 1 over the sequences ``raw``."""
        steps = np.concatenate(raw).astype(np.float64)
        deviation = steps.std(axis=0)
        if not (deviation > 0).all():
            raise EgretError(f"channel {int(np.argmin(deviation))} must vary over the training part")
        return cls(
            tuple(float(f"{v:.4g}") for v in steps.mean(axis=0)),
            tuple(float(f"{1 / v:.4g}") for v in deviation),
        )

    @classmethod
    def scaled(cls, channels: int, scale: float) -> Normalisation:
        """Constants that leave 0 at exactly 0, for inputs whose silence is to cost no events."""
        return cls((0.0,) * channels, (scale,) * channels)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Normalise one sequence T x I; the result is float32."""
        out = (raw.astype(np.float64) - np.array(self.offset)) * np.array(self.scale)
        return np.clip(out, -INPUT_LIMIT, INPUT_LIMIT).astype(np.float32)

    def as_info(self) -> dict[str, list[float] | str]:
        """Return the constants as they stand in a network image's ``info``."""
        rule = f"(raw - offset) * scale, clipped to +-{INPUT_LIMIT:g}"
        return {"rule": rule, "offset": list(self.offset), "scale": list(self.scale)}


@dataclass(frozen=True)
class Task:
    """A classification task with a training, a validation and a test part.

    The constants of ``normalisation`` come from the training part alone, or from the sensor's range.
    ``vectors`` names the channels that form vectors in space, three by three.
    """

    name: str
    input_size: int
    labels: tuple[str, ...]
    normalisation: Normalisation
    train: Sequences
    validation: Sequences
    test: Sequences
    vectors: tuple[tuple[int, int, int], ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.labels)

    def part(self, name: str) -> Sequences:
        """Return the part called ``train``, ``validation`` or ``test``."""
        return getattr(self, check_split(name))

    @classmethod
    def from_raw(
        cls,
        name: str,
        labels: tuple[str, ...],
        raw: Sequence[np.ndarray],
        y: np.ndarray,
        parts: dict[str, np.ndarray],
        vectors: tuple[tuple[int, int, int], ...] = (),
    ) -> Task:
        """Normalise ``raw`` by its training part and cut it into ``parts`` (indices by part name)."""
        y = np.asarray(y, dtype=np.int64)
        if y.min() < 0 or y.max() >= len(labels):
            raise EgretError(f"labels of task {name} must lie in 0..{len(labels) - 1}")
        normalisation = Normalisation.measured_on([raw[i] for i in parts["train"]])
        x = [normalisation.apply(r) for r in raw]
        cut = {k: Sequences(tuple(x[i] for i in v), y[v]) for k, v in parts.items()}
        size = raw[0].shape[1]
        return cls(name, size, labels, normalisation, cut["train"], cut["validation"], cut["test"], vectors)
