"""`egret evaluate`: how good and how active a network is, an image by the integer model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.errors import EgretError

from .progress import need_torch
from .texts import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from egret.evaluation import Evaluation
    from egret.language import TextEvaluation


def evaluate(
    network: Annotated[
        Path | None,
        typer.Argument(
            help="Network image, or checkpoint of a float network; by default the task's shipped one."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task; by default the one that the file names.")] = None,
    split: Annotated[str, typer.Option(help="Part of the task: train, validation or test.")] = "test",
) -> None:
    """Run a network over one part of a task.

    Of a network image it is the integer model that runs, which equals the hardware in every bit.
    """
    from egret import networks, tasks
    from egret.files import header_of
    from egru.image import FORMAT as IMAGE_FORMAT

    if network is None:
        if task is None:
            raise EgretError("evaluate needs a network or --task")
        tasks.is_text(task)  # raises for an unknown name
        network = networks.shipped(task)
    tasks.check_split(split)
    table_of = _of_image if header_of(network).get("format") == IMAGE_FORMAT else _of_checkpoint
    with Console(stderr=True).status(f"evaluating {network.name}"):
        table = table_of(network, task, split)
    Console().print(table)


def _of_image(path: Path, task: str | None, split: str) -> Table:
    from egret import tasks
    from egret.evaluation import check_data, evaluate_image
    from egru.image import load_image

    image = load_image(path)
    task = task or image.info.get("task")
    if not isinstance(task, str):
        raise EgretError(
            f"{path} names no task: give --task, one of {', '.join(tasks.NAMES + tasks.TEXT_NAMES)}"
        )
    title = f"{image.name} on {task}, {split} part, integer model"
    units = [layer.spec.units for layer in image.layers]
    if tasks.is_text(task):
        need_torch()
        from egret.text_quantisation import evaluate_text_image

        text = tasks.load_text(task)
        check_data(image, text)
        return _text_table(title, evaluate_text_image(image, text, split), text.unit, units)
    data = tasks.load(task)
    check_data(image, data)
    return _table(title, evaluate_image(image, data.part(split)), units)


def _of_checkpoint(path: Path, task: str | None, split: str) -> Table:
    need_torch()
    from egret import tasks
    from egret.checkpoint import load_checkpoint
    from egret.evaluation import check_sizes
    from egret.language import evaluate_text
    from egret.modules import evaluate_module

    loaded = load_checkpoint(path)
    task = task or loaded.task
    title = f"{loaded.model} {loaded.recipe.label} of {path.name} on {task}, {split} part, float"
    units = loaded.recipe.shape
    if tasks.is_text(task):
        text = tasks.load_text(task)
        check_sizes(loaded.input_size, loaded.num_classes, text)
        seen = evaluate_text(loaded.network(), text, split, window=loaded.recipe.window)
        return _text_table(title, seen, text.unit, units)
    data = tasks.load(task)
    check_sizes(loaded.input_size, loaded.num_classes, data)
    return _table(title, evaluate_module(loaded.network(), data.part(split)), units)


def _text_table(title: str, seen: TextEvaluation, unit: str, units: Sequence[int]) -> Table:
    return _figures(title, {"tokens": f"{seen.tokens}", "foretold": shown(seen, unit)}, seen.activity, units)


def _table(title: str, seen: Evaluation, units: Sequence[int]) -> Table:
    figures = {
        "sequences": f"{seen.count}",
        "steps": f"{seen.steps}",
        "correct": f"{seen.correct}",
        "accuracy": f"{seen.accuracy:.2%}",
        "input activity": f"{seen.input_activity:.2%}",
    }
    return _figures(title, figures, seen.activity, units)


def _figures(title: str, figures: dict[str, str], activity: Sequence[float], units: Sequence[int]) -> Table:
    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, value)
    for k, share in enumerate(activity):
        table.add_row(f"layer {k} activity ({units[k]} units)", f"{share:.2%}")
    return table
