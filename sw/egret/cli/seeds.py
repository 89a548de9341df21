"""`egret seeds`: a task's table of results over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_directory

from .progress import epochs_shown, need_torch


def seeds(
    task: Annotated[str, typer.Argument(help="Task, for example digits or har.")],
    numbers: Annotated[
        str, typer.Option("--seeds", help="Seeds, with commas between them, 0 to 2^63 - 1.")
    ] = "0,1,2",
    bits: Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")] = 8,
    units: Annotated[int | None, typer.Option(help="Units per layer; by default the task's recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; by default the task's recipe.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value of the recipe (sw/egret/recipes.py); may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Directory for every checkpoint, image and the table."),
    ] = None,
) -> None:
    """Train, quantise and measure a network per seed, and a dense GRU beside it; print mean and spread.

    The seed to ship is the one whose quantised network is best on the validation part.
    """
    from egret import tasks
    from egret.books import recipe
    from egret.recipes import parse_seeds
    from egret.settings import changed

    chosen = changed(recipe(tasks.check_name(task)), settings or (), units=units, epochs=epochs)
    wanted = parse_seeds(numbers)
    need_torch(chosen.threads)
    from egret.quantisation import check_bits
    from egret.repeats import repeat, save_repeats, table_of

    check_bits(bits)
    if output is not None:
        check_directory(output)
    data = tasks.load(task)
    done = [repeat(data, chosen, seed, bits=bits, shown=epochs_shown) for seed in wanted]
    if output is not None:
        save_repeats(done, output)
    Console().print(table_of(task, chosen, bits, done))
