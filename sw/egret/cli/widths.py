"""`egret widths`: what narrower numbers cost in accuracy, and what they save."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_directory

from .progress import epochs_shown, need_torch


def widths(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoints of `egret train`.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            help="Widths as weights/events/tables/inputs, as 4,4,8/6/8/8; may be repeated. "
            "By default 8, 6, 4 and 4,4,6/6/8/6.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of fine-tuning; by default the checkpoint's recipe.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of fine-tuning; by default the checkpoint's recipe.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory for quantisation.md and .json.")
    ] = None,
) -> None:
    """Quantise networks to several widths, with and without fine-tuning; show accuracy, activity and size.

    What is chosen is chosen on the validation part; the test part is reported.
    """
    need_torch()
    from egret import tasks, width_study
    from egret.checkpoint import load_checkpoint
    from egret.recipes import Recipe

    chosen = [width_study.parse_setting(text) for text in settings or width_study.SETTINGS]
    loaded = [load_checkpoint(path) for path in checkpoints]
    for one in loaded:
        for setting in chosen:
            setting.check_layers(one.recipe.layers)
    if output is not None:
        check_directory(output, (width_study.MARKDOWN, width_study.JSON), checkpoints)
    words = ["egret", "widths", *(path.name for path in checkpoints)]
    for text in settings or ():
        words += ["--setting", text]
    for option, value in (("--epochs", epochs), ("--learning-rate", learning_rate)):
        if value is not None:
            words += [option, str(value)]
    console = Console()
    done: list[tuple[str, Recipe, list[width_study.Row]]] = []
    for one in loaded:
        recipe = one.recipe.but(qat_epochs=epochs, qat_learning_rate=learning_rate)
        name = f"{one.task}, {one.recipe.units} units, seed {one.seed}"
        rows: list[width_study.Row] = []
        done.append((name, recipe, rows))
        for measured in width_study.study(tasks.load(one.task), one, chosen, recipe, epochs_shown):
            rows += measured
            if output is not None:  # after every setting: an hour's work is not lost with its last minute
                width_study.save(done, shlex.join(words), output)
        console.print(width_study.table_of(name, rows))
    if output is not None:
        console.print(f"wrote {output / width_study.MARKDOWN}", soft_wrap=True)
