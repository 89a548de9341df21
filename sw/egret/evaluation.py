"""Accuracy and activity of a network over the sequences of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork, decide

from .tasks import Sequences, Task, Text

Run = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, list[float], int]]

BATCH = 256  #: sequences per pass; results do not depend on it


@dataclass(frozen=True)
class Evaluation:
    """What a network did over some sequences.

    Attributes
    ----------
    decisions
        int64, one class per sequence.
    correct
        How many decisions equal the label.
    count
        Sequences.
    steps
        Time steps of all sequences.
    activity
        Per layer, the share of units that fired per step, 0..1; empty for a network without events.
    input_activity
        Share of input values that are not zero, 0..1.
    """

    decisions: np.ndarray
    correct: int
    count: int
    steps: int
    activity: tuple[float, ...]
    input_activity: float

    @property
    def accuracy(self) -> float:
        """Share of correct decisions, 0..1."""
        return self.correct / self.count

    @property
    def mean_activity(self) -> float:
        """Mean activity over the layers; 1 for a network without events, whose every unit speaks."""
        return float(np.mean(self.activity)) if self.activity else 1.0


def evaluate_in_batches(sequences: Sequences, run: Run) -> Evaluation:
    """Evaluate by ``run(x, lengths)``, with x T x B x I and lengths B.

    ``run`` returns the B decisions, per layer the share of fired units summed over all steps, and the number
    of inputs that are not zero. Sequences are taken in order of length, so that little of a batch is padding.
    """
    order = np.argsort(sequences.lengths, kind="stable")
    decisions = np.empty(len(sequences), dtype=np.int64)
    fired: list[np.ndarray] = []
    nonzero = 0
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        decided, layers, inputs = run(*sequences.padded(chosen))
        decisions[chosen] = decided
        fired.append(np.array(layers, dtype=np.float64))
        nonzero += inputs
    steps = int(sequences.lengths.sum())
    return Evaluation(
        decisions=decisions,
        correct=int((decisions == sequences.y).sum()),
        count=len(sequences),
        steps=steps,
        activity=tuple(float(a) for a in np.sum(fired, axis=0) / steps),
        input_activity=nonzero / (steps * sequences.x[0].shape[1]),
    )


def evaluate_image(image: NetworkImage, sequences: Sequences) -> Evaluation:
    """Evaluate a network image by the integer model: what the chip decides, and how many units it fires."""
    size = sequences.x[0].shape[1]
    if image.input.size != size:
        raise EgretError(f"the image must take {size} inputs for this task, not {image.input.size}")
    network = IntegerNetwork(image)

    def run(x: np.ndarray, lengths: np.ndarray) -> tuple:
        words = image.input.format.quantise(x)
        trace = network.run(words, lengths)
        layers = [np.count_nonzero(events) / events.shape[-1] for events in trace.events]
        return decide(trace.logits), layers, int(np.count_nonzero(words))

    return evaluate_in_batches(sequences, run)


def check_sizes(inputs: int, classes: int, task: Task | Text) -> None:
    """Raise EgretError unless a network of so many inputs and classes is one for the task."""
    if inputs != task.input_size:
        raise EgretError(f"the network must take {task.input_size} inputs for task {task.name}, not {inputs}")
    if classes != task.num_classes:
        raise EgretError(
            f"the network must have {task.num_classes} classes for task {task.name}, not {classes}"
        )


def check_data(image: NetworkImage, task: Task | Text) -> None:
    """Raise EgretError if a task's data mean nothing to an image: the check of all commands that play any.

    Sizes must be the task's, and so must the constants that normalise its inputs, if the image names them.
    """
    check_sizes(image.input.size, image.readout.spec.classes, task)
    named = image.info.get("input_normalisation")
    if isinstance(task, Task) and named is not None and named != task.normalisation.as_info():
        raise EgretError(
            f"the image's input_normalisation must be that of the task {task.name}: retrain the network"
        )
