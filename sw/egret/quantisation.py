"""From a float checkpoint to a network image: quantise, fine-tune, choose, measure.

Fine-tuning trains the integer model itself (:class:`egru.quant.QuantNetwork`), so the accuracy on the
validation part that chooses the epoch is the accuracy of the chip. The test part is used once, after
everything is decided.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import NetworkImage
from egru.quant import QuantNetwork
from egru.widths import Widths

from .checkpoint import Checkpoint, for_hardware
from .evaluation import Evaluation, evaluate_image
from .language import TextTask
from .modules import evaluate_module
from .pruning import zeros_kept
from .recipes import Recipe
from .selection import Epoch
from .tasks import Sequences, Task
from .tasks.task import INPUT_BITS, INPUT_FRAC
from .training import Phase, Report, fit

BITS = (2, 8)  #: the narrowest and the widest weights


@dataclass(frozen=True)
class Quantised:
    """An image, and what it and its forerunners do on the test part."""

    image: NetworkImage
    float_test: Evaluation
    post_training_test: Evaluation  # quantised, not fine-tuned
    test: Evaluation


def check_bits(bits: int) -> int:
    """Return ``bits`` if weights can have so many, else raise EgretError."""
    if type(bits) is not int or not BITS[0] <= bits <= BITS[1]:
        raise EgretError(f"bits must be an integer {BITS[0]}..{BITS[1]}, not {bits!r}")
    return bits


def check_fits(checkpoint: Checkpoint, task: Task) -> None:
    """Raise EgretError unless the checkpoint has the sizes of the task."""
    have, need = (checkpoint.input_size, checkpoint.num_classes), (task.input_size, task.num_classes)
    if have != need:
        raise EgretError(
            f"the checkpoint must have {need[0]} inputs and {need[1]} classes for {task.name}, not {have}"
        )


def as_widths(bits: int | Widths) -> Widths:
    """Return ``bits`` if it is widths, else those of weights of ``bits`` bits, with all else as usual."""
    return bits if isinstance(bits, Widths) else Widths.of(check_bits(bits))


def input_format(bits: int) -> IntFormat:
    """The format of an input word of ``bits`` bits: it spans the range to which tasks clip their inputs."""
    return IntFormat(bits, max(0, INPUT_FRAC - (INPUT_BITS - bits)), True)


def post_training(checkpoint: Checkpoint, bits: int | Widths = 8) -> QuantNetwork:
    """Quantise a checkpoint's network to weights of ``bits`` bits, or to widths, without any training."""
    widths = as_widths(bits)
    return QuantNetwork.from_float(
        for_hardware(checkpoint),
        input_format=input_format(widths.inputs),
        weight_bits=widths.weights,
        event_bits=widths.events,
        table_bits=widths.tables,
    ).eval()


def stored_bits(bits: int | Widths) -> int | list[int]:
    """Return the bits of weights as they stand in an image's info: one number, or one per tensor."""
    weights = as_widths(bits).weights
    return list(weights) if len(weights) > 1 else weights[0]


def fine_tune(
    network: QuantNetwork, content: Task | TextTask, recipe: Recipe, seed: int, report: Report | None
) -> Epoch | None:
    """Train a quantised network in place as its recipe says; return the epoch kept, None without epochs."""
    if recipe.learn_scales:
        network.learn_scales_()
    if not recipe.qat_epochs:
        return None
    phase = Phase(recipe.qat_epochs, recipe.qat_learning_rate, (0.0, 0.0), start_counts=True)
    with zeros_kept(network):
        return fit(network, content, recipe, phase, seed=seed, report=report)


def quantise(
    task: Task,
    checkpoint: Checkpoint,
    *,
    bits: int | Widths = 8,
    recipe: Recipe | None = None,
    command: str = "",
    report: Report | None = None,
) -> Quantised:
    """Quantise, fine-tune for ``recipe.qat_epochs`` epochs and measure.

    Of the epochs, and the network as quantised, the best on the validation part is taken. ``bits`` are
    those of all weights, or the widths of everything.
    ``recipe`` defaults to the checkpoint's own. Zero epochs leave the network as quantised after training.
    ``command`` goes into the image's info.
    """
    check_fits(checkpoint, task)
    recipe = recipe or checkpoint.recipe
    network = post_training(checkpoint, bits)
    untrained = network.to_image(task.name)
    chosen = fine_tune(network, task, recipe, checkpoint.seed, report)
    plain = network.to_image(task.name)
    validation = evaluate_image(plain, task.validation)
    float_test = evaluate_module(checkpoint.network(), task.test)
    post_test = evaluate_image(untrained, task.test)
    test = evaluate_image(plain, task.test)
    info = {
        "task": task.name,
        "labels": list(task.labels),
        "input_normalisation": task.normalisation.as_info(),
        "command": command,
        "seed": checkpoint.seed,
        "recipe": recipe.as_dict(),
        "weight_bits": stored_bits(bits),
        "figures": {
            "float": {**checkpoint.figures, **figures(float_test, "test")},
            "post_training": figures(post_test, "test"),
            "quantised": {
                "epoch": chosen.number if chosen else 0,
                **figures(validation, "validation"),
                **figures(test, "test"),
            },
        },
        "torch": torch.__version__,
    }
    image = dataclasses.replace(plain, info=info)
    return Quantised(image, float_test, post_test, test)


def figures(evaluation: Evaluation, part: str) -> dict[str, float | list[float]]:
    """Return an evaluation's figures as they stand in an image's info, rounded to 5 decimals."""
    return {
        f"{part}_accuracy": round(evaluation.accuracy, 5),
        f"{part}_activity": [round(a, 5) for a in evaluation.activity],
        f"{part}_sequences": evaluation.count,
    }


def agree(network: QuantNetwork, sequences: Sequences) -> bool:
    """Whether the module and its image decide alike on every one of ``sequences``."""
    by_module = evaluate_module(network, sequences).decisions
    by_image = evaluate_image(network.to_image("check"), sequences).decisions
    return bool(np.array_equal(by_module, by_image))
