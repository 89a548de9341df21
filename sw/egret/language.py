"""The objective of texts: the next token, by truncated backpropagation, judged by bits or perplexity.

A part of a text is cut into columns that are read side by side. A window of steps is one batch; the network's
state is carried from window to window, and the gradient ends where a window starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from egru.errors import EgretError

from .objective import Objective, Step
from .recipes import Recipe
from .selection import BITS_PER_CHARACTER, PERPLEXITY

COLUMNS = 32  #: that evaluation reads side by side; each begins with a silent network


class TextTask(Protocol):
    """A task made of one stream of tokens per part; see `egret.tasks.text`."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def unit(self) -> str:
        """What a token is: ``character`` or ``word``."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens by number."""

    @property
    def input_size(self) -> int:
        """Length of a one-hot input: that of the vocabulary."""

    @property
    def num_classes(self) -> int:
        """Length of the vocabulary."""

    def part(self, name: str) -> np.ndarray:
        """Return the tokens of a part, integers."""

    def columns(self, part: str, batch: int) -> np.ndarray:
        """Return a part as T x batch tokens: each column a run of the text, one after the other."""


@dataclass(frozen=True)
class TextEvaluation:
    """How well a network foretells a text.

    Attributes
    ----------
    tokens
        Tokens foretold.
    nats
        Mean loss per token.
    activity
        Per layer, the share of units that fired per step, 0..1; empty for a network without events.
    """

    tokens: int
    nats: float
    activity: tuple[float, ...]

    @property
    def bits(self) -> float:
        """Bits per token."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely tokens that would be as hard to foretell."""
        return math.exp(min(self.nats, 700.0))

    @property
    def mean_activity(self) -> float:
        """Mean activity over the layers; 1 for a network without events, whose every unit speaks."""
        return float(np.mean(self.activity)) if self.activity else 1.0

    def value(self, unit: str) -> float:
        """Return what a text of such units is judged by."""
        return self.bits if unit == "character" else self.perplexity


def encoded(network: nn.Module, tokens: Tensor, vocabulary: int) -> Tensor:
    """Return tokens (T x B) as ``network`` takes them: numbers for an embedding, else one-hot T x B x V."""
    if getattr(network, "takes_tokens", False):
        return tokens
    return functional.one_hot(tokens, vocabulary).to(torch.get_default_dtype())


def detached(state: Any) -> Any:
    """Return a state (tensors, nested in tuples or lists, or None) that no gradient passes."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.detach()
    return type(state)(detached(value) for value in state)


def windows(columns: Tensor, length: int) -> Iterator[Tensor]:
    """Yield overlapping windows: ``length`` steps (fewer in the last) and the token after them."""
    for first in range(0, len(columns) - 1, length):
        yield columns[first : first + length + 1]


@torch.no_grad()
def evaluate_text(
    network: nn.Module, text: TextTask, part: str, *, window: int, batch: int = COLUMNS
) -> TextEvaluation:
    """Evaluate on a whole part in evaluation mode, with the state carried from its first step to its last.

    The part is read in ``batch`` columns (fewer for a short one), each from a silent network; 1 reads it from
    end to end. What does not fill a row of columns, fewer than ``batch`` tokens, is left out.
    """
    batch = max(1, min(batch, len(text.part(part)) // 2))
    columns = torch.from_numpy(np.ascontiguousarray(text.columns(part, batch), dtype=np.int64))
    training = network.training
    network.eval()
    nats, fired, state = 0.0, [], None
    for tokens in windows(columns, window):
        output = network(encoded(network, tokens[:-1], len(text.vocabulary)), state=state)
        state = output.state
        logits = output.logits.float().flatten(0, 1)
        nats += functional.cross_entropy(logits, tokens[1:].flatten(), reduction="sum").item()
        fired.append([float((y != 0).sum()) / y.shape[-1] for y in getattr(output, "events", ())])
    network.train(training)
    count = (len(columns) - 1) * columns.shape[1]
    return TextEvaluation(count, nats / count, tuple(float(a) for a in np.sum(fired, axis=0) / count))


class LanguageModelling(Objective):
    """A stream of tokens; a batch is a window, T+1 x B tokens."""

    def __init__(self, text: TextTask, recipe: Recipe) -> None:
        if recipe.readout != "every":
            raise EgretError(f"readout must be every for the text {text.name}, not {recipe.readout}")
        self.text = text
        self.recipe = recipe
        self.measure = BITS_PER_CHARACTER if text.unit == "character" else PERPLEXITY
        self.generators = {}
        tokens = len(text.part("train"))
        if tokens < 2 * recipe.batch_size:
            raise EgretError(
                f"batch_size must be at most half the {tokens} tokens of {text.name}, not {recipe.batch_size}"
            )
        columns = np.ascontiguousarray(text.columns("train", recipe.batch_size), dtype=np.int64)
        self.columns = torch.from_numpy(columns)
        self.state: Any = None

    def batches_per_epoch(self) -> int:
        """Return how many windows an epoch has."""
        return -(-(len(self.columns) - 1) // self.recipe.window)

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Yield the windows in the order of the text, from a silent network on."""
        self.state = None
        return windows(self.columns, self.recipe.window)

    def step(self, network: nn.Module, batch: Tensor) -> Step:
        """Foretell every next token of a window, from the state that the window before left."""
        x = encoded(network, batch[:-1], len(self.text.vocabulary))
        output = network(x, state=self.state)
        self.state = detached(output.state)
        loss = functional.cross_entropy(
            output.logits.float().flatten(0, 1),
            batch[1:].flatten(),
            label_smoothing=self.recipe.label_smoothing,
        )
        lengths = torch.full((batch.shape[1],), len(batch) - 1)
        return Step(loss, list(getattr(output, "spikes", ()) or ()), lengths)

    def judge(self, network: nn.Module) -> tuple[float, float | None]:
        """Return bits per character or perplexity, and the activity, of the validation part."""
        seen = evaluate_text(network, self.text, "validation", window=self.recipe.window)
        return seen.value(self.text.unit), seen.mean_activity if seen.activity else None
