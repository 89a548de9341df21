"""A text task: one stream of tokens per part, each to be predicted from those before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError

from .task import SPLITS, Sequences, check_split

UNITS = ("character", "word")  #: what a token is
PASSAGE_STEPS = 100  #: tokens of a passage that is played like a labelled sequence
PASSAGE_TOKENS = 256  #: the largest vocabulary of such a text


@dataclass(frozen=True)
class Text:
    """A language-modelling task with a training, a validation and a test part.

    Attributes
    ----------
    unit
        What a token is, ``character`` or ``word``.
    vocabulary
        The tokens by their numbers.
    train, validation, test
        int64 token numbers 0 .. len(vocabulary) - 1, in reading order.
    """

    name: str
    unit: str
    vocabulary: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise EgretError(f"unit must be one of {', '.join(UNITS)}, not {self.unit!r}")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise EgretError(f"vocabulary of task {self.name} must hold every token once")
        for part in SPLITS:
            stream = self.part(part)
            if stream.ndim != 1 or stream.dtype != np.int64 or len(stream) < 2:
                raise EgretError(f"the {part} part of task {self.name} must be a stream of at least 2 int64")
            if stream.min() < 0 or stream.max() >= len(self.vocabulary):
                raise EgretError(
                    f"tokens of the {part} part of task {self.name} must lie in 0..{len(self.vocabulary) - 1}"
                )

    @property
    def input_size(self) -> int:
        """Number of different tokens that can come in, the length of a one-hot input."""
        return len(self.vocabulary)

    @property
    def num_classes(self) -> int:
        """Number of different tokens that can come next."""
        return len(self.vocabulary)

    def part(self, name: str) -> np.ndarray:
        """Return the stream called ``train``, ``validation`` or ``test``."""
        return getattr(self, check_split(name))

    def columns(self, part: str, batch: int) -> np.ndarray:
        """Cut a part's stream into ``batch`` equally long columns; the rest at its end is dropped.

        The result is T x batch, int64; each column reads on where the one to its left ends. Windows of rows
        follow one another in every column, so that truncated backpropagation can carry the state from window
        to window. Only the first token of every column has no past.
        """
        stream = self.part(part)
        longest = len(stream) // 2  # a column predicts at least one token
        if not 1 <= batch <= longest:
            raise EgretError(
                f"batch must be 1..{longest} for the {part} part of task {self.name}, not {batch}"
            )
        steps = len(stream) // batch
        return np.ascontiguousarray(stream[: steps * batch].reshape(batch, steps).T)

    def passages(self, part: str, steps: int = PASSAGE_STEPS) -> Sequences:
        """Cut a part into passages of ``steps`` tokens, one-hot, as labelled sequences.

        The label is the token after the passage. So a text can be played as any task is, each passage from a
        silent network. What is left at the end is dropped.

        Raises EgretError for a vocabulary of more than ``PASSAGE_TOKENS``, whose one-hot inputs would not
        fit into memory, and for a part shorter than one passage.
        """
        size, stream = self.input_size, self.part(part)
        if size > PASSAGE_TOKENS:
            raise EgretError(
                f"a text that is played must have at most {PASSAGE_TOKENS} different tokens, and {self.name} "
                f"has {size}"
            )
        count = (len(stream) - 1) // steps
        if not count:
            raise EgretError(
                f"steps must be below {len(stream)} for the {part} part of task {self.name}, not {steps}"
            )
        one_hot = np.eye(size, dtype=np.float32)[stream[: count * steps]].reshape(count, steps, size)
        return Sequences(tuple(one_hot), stream[steps : count * steps + 1 : steps].copy())
