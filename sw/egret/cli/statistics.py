"""`egret statistics`: activity and work of a network's layers, forward and backward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.errors import EgretError

from .progress import need_torch

if TYPE_CHECKING:
    from egret.statistics import Statistics


def statistics(
    network: Annotated[
        Path | None,
        typer.Argument(
            help="Checkpoint, imported network or network image; by default the task's shipped one."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task; by default the one that the file names.")] = None,
    split: Annotated[str, typer.Option(help="Part of the task: train, validation or test.")] = "validation",
    eps: Annotated[
        float | None, typer.Option(help="Slope of the surrogate gradient; by default the network's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every count.")] = False,
) -> None:
    """Count how many units fire and need a gradient, and the MACs that follow, against a dense network's."""
    from egret import networks, tasks

    if network is None:
        if task is None:
            raise EgretError("statistics needs a network or --task")
        tasks.is_text(task)
        network = networks.shipped(task)
    tasks.check_split(split)
    need_torch()
    from egret.statistics import collect, collect_text, open_network

    opened = open_network(network)
    task = task or opened.task
    if not isinstance(task, str):
        raise EgretError(
            f"{network} names no task: give --task, one of {', '.join(tasks.NAMES + tasks.TEXT_NAMES)}"
        )
    with Console(stderr=True).status(f"counting {network.name}"):
        if tasks.is_text(task):
            seen = collect_text(opened, tasks.load_text(task), split, eps=eps)
        else:
            seen = collect(opened, tasks.load(task), split, eps=eps)
    if as_json:
        print(json.dumps({"network": network.name, "task": task, "split": split, **seen.as_dict()}, indent=1))
        return
    console = Console()
    console.print(_activity(seen, f"{network.name} on {task}, {split} part, eps {seen.eps:g}"))
    console.print(_macs(seen))
    for line in _summary(seen):
        console.print(line, soft_wrap=True)


def _activity(seen: Statistics, title: str) -> Table:
    table = Table(title=title)
    table.add_column("layer")
    for heading in (
        "inputs",
        "units",
        "inputs not 0",
        "forward: fired",
        "surrogate not 0",
        "backward: either",
    ):
        table.add_column(heading, justify="right")
    for k, layer in enumerate(seen.layers):
        shares = (layer.input_activity, layer.activity, layer.surrogate_activity, layer.backward_activity)
        table.add_row(f"{k}", f"{layer.inputs}", f"{layer.units}", *(f"{share:.2%}" for share in shares))
    return table


#: Products by their names in `egru.statistics.Work`.
_PRODUCTS = {
    "input": "input",
    "recurrent": "recurrent",
    "forward": "forward, both",
    "weight_gradient": "weight gradients",
    "y_gradient": "dy",
    "x_gradient": "dx, for the layer below",
    "backward": "backward, all three",
}


def _macs(seen: Statistics) -> Table:
    table = Table(title="MACs per step (share of dense)")
    table.add_column("product")
    works = [layer.work for layer in seen.layers]
    for k in range(len(works)):
        table.add_column(f"layer {k}", justify="right")
    if len(works) > 1:
        works.append(seen.work)
        table.add_column("all layers", justify="right")
    for name, label in _PRODUCTS.items():
        cells = []
        for work in works:
            count, dense = getattr(work, name), getattr(work, f"{name}_dense")
            cells.append(f"{count / seen.steps:,.0f} ({count / dense:.1%})" if dense else "-")
        table.add_row(label, *cells)
    return table


def _summary(seen: Statistics) -> list[str]:
    """The totals twice: with the products of zero inputs saved, and without."""
    work, zeros = seen.work, seen.work.zero_inputs
    lines = []
    for label, extra in (
        ("inputs that are exactly zero cost nothing", 0),
        ("the first layer multiplies its every input", zeros),
    ):
        forward, backward = work.forward + extra, work.backward + extra
        both = (forward + backward) / (work.forward_dense + work.backward_dense)
        lines.append(
            f"where {label}: forward {forward / work.forward_dense:.1%}, backward "
            f"{backward / work.backward_dense:.1%}, together {both:.1%} of the dense MACs"
        )
    return lines
