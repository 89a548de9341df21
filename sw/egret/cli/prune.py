"""`egret prune`: remove the weakest rows or blocks of weights from a checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_output

from .progress import epochs_shown, need_torch


def prune(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `egret train`.")],
    density: Annotated[float, typer.Option(help="Share of blocks that are left, above 0, at most 1.")],
    block: Annotated[
        int, typer.Option(help="Numbers of a source's row that stay or go together; 0: the whole row.")
    ] = 8,
    rounds: Annotated[int, typer.Option(help="Times that blocks are removed, ever more.")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of training after each.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Checkpoint; by default the given one's name with -pruned."),
    ] = None,
) -> None:
    """Prune a float network by magnitude, train it on, and write it as a checkpoint.

    The epoch is chosen on the validation part; the test part is not used. `egret quantize` leaves pruned
    weights at zero.
    """
    need_torch()
    from egret import tasks
    from egret.checkpoint import load_checkpoint, save_checkpoint
    from egret.pruning import Pruning
    from egret.pruning import prune as run

    wanted = Pruning(density, block, rounds, epochs)
    loaded = load_checkpoint(checkpoint)
    path = check_output(output or checkpoint.with_name(f"{checkpoint.stem}-pruned.safetensors"), checkpoint)
    data = tasks.load(loaded.task)
    with epochs_shown(f"{loaded.task} at density {density:g}", epochs) as report:
        pruned = run(data, loaded, wanted, loaded.recipe, report)
    command = f"egret prune {shlex.quote(checkpoint.name)} {wanted.options()}"
    before = loaded.figures.get("pruned_by")
    figures = {**pruned.figures, "pruned_by": f"{before} && {command}" if before else command}
    save_checkpoint(replace(pruned, figures=figures), path)
    accuracy, activity = figures["validation_accuracy"], figures["validation_activity"]
    Console().print(
        f"density {density:g}: {accuracy:.2%} of the validation part at {activity:.2%} activity; "
        f"wrote {path}",
        soft_wrap=True,
    )
