"""Texts in integers: from a float checkpoint to a network image, and what the image does on a text.

As `egret.quantisation` does it for labelled sequences: fine-tuning trains the integer model itself, the
validation part chooses, and the test part is used once, at the end.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from egru.errors import EgretError
from egru.image import NetworkImage
from egru.integer import IntegerNetwork
from egru.widths import Widths

from .checkpoint import Checkpoint
from .language import COLUMNS, TextEvaluation, TextTask, evaluate_text
from .quantisation import fine_tune, post_training, stored_bits
from .recipes import Recipe
from .training import Report

WINDOW = 256  #: steps that the integer model runs at a time; results do not depend on it


@dataclass(frozen=True)
class QuantisedText:
    """An image, and what it and its forerunners do on the test part."""

    image: NetworkImage
    float_test: TextEvaluation
    post_training_test: TextEvaluation  # quantised, not fine-tuned
    test: TextEvaluation


def evaluate_text_image(
    image: NetworkImage, text: TextTask, part: str, batch: int = COLUMNS
) -> TextEvaluation:
    """Evaluate an image by the integer model, as :func:`egret.language.evaluate_text` does a network."""
    size = len(text.vocabulary)
    if (image.input.size, image.readout.spec.mode) != (size, "every"):
        raise EgretError(
            f"the image must take {size} inputs and answer every step for {text.name}, "
            f"not {image.input.size} and {image.readout.spec.mode}"
        )
    network = IntegerNetwork(image)
    columns = text.columns(part, max(1, min(batch, len(text.part(part)) // 2)))
    words = image.input.format.quantise(np.eye(size))
    nats, fired, state = 0.0, np.zeros(len(image.layers)), None
    for first in range(0, len(columns) - 1, WINDOW):
        tokens = columns[first : first + WINDOW + 1]
        trace = network.run(words[tokens[:-1]], state=state)
        state = trace.last()
        logits = trace.logits * 2.0**-image.logit_frac
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, tokens[1:, :, None], axis=-1)[..., 0]
        nats += float((np.log(np.exp(logits).sum(axis=-1)) - chosen).sum())
        fired += [np.count_nonzero(y) / y.shape[-1] for y in trace.events]
    count = (len(columns) - 1) * columns.shape[1]
    return TextEvaluation(count, nats / count, tuple(float(a) for a in fired / count))


def quantise_text(
    text: TextTask,
    checkpoint: Checkpoint,
    *,
    bits: int | Widths = 8,
    recipe: Recipe | None = None,
    command: str = "",
    report: Report | None = None,
) -> QuantisedText:
    """Quantise, fine-tune and measure, as :func:`egret.quantisation.quantise` does for labelled sequences."""
    have, need = (checkpoint.input_size, checkpoint.num_classes), (text.input_size, text.num_classes)
    if have != need:
        raise EgretError(f"the checkpoint must have {need} inputs and classes for {text.name}, not {have}")
    recipe = recipe or checkpoint.recipe
    network = post_training(checkpoint, bits)
    untrained = network.to_image(text.name)
    chosen = fine_tune(network, text, recipe, checkpoint.seed, report)
    plain = network.to_image(text.name)
    float_test = evaluate_text(checkpoint.network(), text, "test", window=recipe.window)
    post_test = evaluate_text_image(untrained, text, "test")
    validation, test = (evaluate_text_image(plain, text, part) for part in ("validation", "test"))
    info = {
        "task": text.name,
        "labels": list(text.vocabulary),
        "command": command,
        "seed": checkpoint.seed,
        "recipe": recipe.as_dict(),
        "weight_bits": stored_bits(bits),
        "figures": {
            "float": {**checkpoint.figures, **figures(float_test, text, "test")},
            "post_training": figures(post_test, text, "test"),
            "quantised": {
                "epoch": chosen.number if chosen else 0,
                **figures(validation, text, "validation"),
                **figures(test, text, "test"),
            },
        },
        "torch": torch.__version__,
    }
    return QuantisedText(dataclasses.replace(plain, info=info), float_test, post_test, test)


def figures(evaluation: TextEvaluation, text: TextTask, part: str) -> dict[str, float | list[float]]:
    """Return an evaluation's figures as they stand in an image's info, rounded to 5 decimals."""
    measure = "bits_per_character" if text.unit == "character" else "perplexity"
    return {
        f"{part}_{measure}": round(evaluation.value(text.unit), 5),
        f"{part}_activity": [round(a, 5) for a in evaluation.activity],
        f"{part}_tokens": evaluation.tokens,
    }
