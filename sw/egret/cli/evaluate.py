"""`egret evaluate`: accuracy and activity of a network image, by the integer model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def evaluate(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task; by default the one that the image names.")] = None,
    split: Annotated[str, typer.Option(help="Part of the task: train, validation or test.")] = "test",
) -> None:
    """Run the integer model, which equals the hardware in every bit, over one part of a task."""
    from egret import networks, tasks
    from egret.cli.texts import evaluated_table
    from egret.evaluation import check_normalisation, evaluate_image
    from egru.errors import EgretError
    from egru.image import load_image

    if image is None:
        if task is None:
            raise EgretError("evaluate needs an image or --task")
        tasks.is_text(task)  # raises for an unknown name
        image = networks.shipped(task)
    tasks.check_split(split)
    network = load_image(image)
    task = task or network.info.get("task")
    if not isinstance(task, str):
        raise EgretError(
            f"{image} names no task: give --task, one of {', '.join(tasks.NAMES + tasks.TEXT_NAMES)}"
        )
    console = Console()
    if tasks.is_text(task):
        with Console(stderr=True).status(f"evaluating {network.name}"):
            console.print(evaluated_table(network, task, split))
        return
    data = tasks.load(task)
    check_normalisation(network, data)
    with Console(stderr=True).status(f"evaluating {network.name}"):
        seen = evaluate_image(network, data.part(split))
    table = Table(title=f"{network.name} on {task}, {split} part, integer model")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("sequences", f"{seen.count}")
    table.add_row("steps", f"{seen.steps}")
    table.add_row("correct", f"{seen.correct}")
    table.add_row("accuracy", f"{seen.accuracy:.2%}")
    table.add_row("input activity", f"{seen.input_activity:.2%}")
    for k, (layer, activity) in enumerate(zip(network.layers, seen.activity, strict=True)):
        table.add_row(f"layer {k} activity ({layer.spec.units} units)", f"{activity:.2%}")
    console.print(table)
