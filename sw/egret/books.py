"""Books of recipes: the default ones, and the paper's own configurations."""

from __future__ import annotations

import dataclasses
from typing import Any

from egru.errors import EgretError

from .recipes import RECIPES, Recipe

# The paper's sizes and means (Subramoney et al., ICLR 2023). The probabilities, rates and epochs are such as
# are common for recurrent language models; they were not tuned, and none of these was trained to its end.
_PAPER_TEXT: dict[str, Any] = dict(
    sizes=(1350, 1350, 750),
    embedding=750,
    tied=True,
    epochs=500,
    clip_norm=0.25,
    weight_decay=1.2e-6,
    learning_rate=1e-3,
    dropout_between=0.25,
    dropout_output=0.4,
    dropconnect=0.5,
    zoneout=0.05,
    pressure=0.0,
    activity_limit=1.0,
    noise=0.0,
    label_smoothing=0.0,
    kernel="auto",
    readout="every",
    window=70,
)
PAPER = {
    "smnist": Recipe(
        units=590,
        epochs=200,
        batch_size=256,
        learning_rate=1e-3,
        noise=0.0,
        label_smoothing=0.0,
        pressure=0.0,
        activity_limit=1.0,
        kernel="auto",
    ),
    "ptb-word": Recipe(batch_size=20, dropout_input=0.4, **_PAPER_TEXT),
    "wikitext-2": Recipe(batch_size=80, dropout_input=0.65, **_PAPER_TEXT),
}
BOOKS = {"default": RECIPES, "paper": PAPER}  #: recipes by task, by the name of `egret train --recipe`


def recipe(task: str, book: str = "default") -> Recipe:
    """Return a task's recipe in a book; raises EgretError if there is none."""
    if book not in BOOKS:
        raise EgretError(f"recipe must be one of {', '.join(BOOKS)}, not {book!r}")
    if task not in BOOKS[book]:
        having = [name for name, recipes in BOOKS.items() if task in recipes]
        hint = f"choose --recipe {having[0]}" if having else f"those with one are {', '.join(BOOKS[book])}"
        raise EgretError(f"task {task} has no {book} recipe: {hint}")
    return BOOKS[book][task]


def nearest(chosen: Recipe, task: str) -> tuple[str, Recipe]:
    """Return name and recipe of the book whose recipe for a task differs least from ``chosen``."""
    having = {name: recipes[task] for name, recipes in BOOKS.items() if task in recipes}
    if not having:
        recipe(task)  # raises

    def differences(name: str) -> int:
        return sum(
            getattr(chosen, f.name) != getattr(having[name], f.name) for f in dataclasses.fields(Recipe)
        )

    name = min(having, key=differences)
    return name, having[name]
