"""`egret frontier`: accuracy against activity against weight density."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.errors import EgretError
from egru.writing import check_directory

from .progress import epochs_shown, need_torch


def frontier(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoints of `egret train`.")],
    densities: Annotated[str, typer.Option(help="Shares of weights left, with commas.")] = "1,0.5,0.25,0.1",
    activities: Annotated[
        str, typer.Option(help="Activity targets, with commas; 0.05 is 5 %.")
    ] = "0.08,0.05,0.025",
    block: Annotated[int, typer.Option(help="Numbers that stay or go together; 0: a source's row.")] = 8,
    rounds: Annotated[int, typer.Option(help="Times that blocks are removed, ever more.")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of training after each.")] = 10,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for sparsity.md, .json and .svg.")
    ] = Path("docs"),
) -> None:
    """Prune and press networks to several densities and activities; show what it costs in accuracy.

    What is chosen is chosen on the validation part; the test part is reported.
    """
    need_torch()
    from egret import frontier as study
    from egret import tasks
    from egret.checkpoint import load_checkpoint
    from egret.pruning import Pruning

    shares, targets = _shares("densities", densities), _shares("activities", activities)
    pruning = Pruning(1.0, block, rounds, epochs)
    loaded = [load_checkpoint(path) for path in checkpoints]
    check_directory(output, (study.MARKDOWN, study.JSON, study.PICTURE), checkpoints)
    words = ["egret", "frontier", *(path.name for path in checkpoints), "--densities", densities]
    words += ["--activities", activities, "--block", str(block), "--rounds", str(rounds)]
    command = shlex.join([*words, "--epochs", str(epochs)])
    console = Console()
    done: list[tuple[str, list[study.Point]]] = []
    for one in loaded:
        name = f"{one.task}, {one.recipe.units} units, seed {one.seed}"
        points: list[study.Point] = []
        done.append((name, points))
        for point in study.points(tasks.load(one.task), one, shares, targets, pruning, epochs_shown):
            points.append(point)
            study.save(done, pruning, command, output)  # what is measured is not lost with the last minute
        table = Table(title=name)
        for heading in study.HEADINGS:
            table.add_column(heading, justify="right")
        for point in points:
            table.add_row(*study.cells(point, points[0]))
        console.print(table)
    console.print(f"wrote {output / study.MARKDOWN}", soft_wrap=True)


def _shares(name: str, text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise EgretError(
            f"{name} must be numbers above 0 and at most 1 with commas between them, not {text!r}"
        )
    return shares
