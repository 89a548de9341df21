"""`egret train`: a float network from a task's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .progress import epochs_shown, need_torch


def train(
    task: Annotated[str, typer.Argument(help="Task, for example digits or har.")],
    seed: Annotated[int, typer.Option(help="Seed of the initial weights, the batches and the noise.")] = 0,
    units: Annotated[int | None, typer.Option(help="Units per layer; by default the task's recipe.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers; by default the task's recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; by default the task's recipe.")] = None,
    model: Annotated[str, typer.Option(help="egru, or gru for the dense baseline.")] = "egru",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Checkpoint; by default TASK-MODEL-SEED.safetensors."),
    ] = None,
) -> None:
    """Train a float network, and keep the epoch that is best on the validation part.

    The pressure towards few events sets in after the first third of the epochs. The test part is not used.
    """
    from egret import tasks
    from egret.recipes import check_model, check_seed, recipe

    chosen = recipe(tasks.check_name(task)).but(units=units, layers=layers, epochs=epochs)
    check_model(model)
    check_seed(seed)
    need_torch()
    from egret import training
    from egret.checkpoint import check_writable, save_checkpoint

    path = check_writable(output or Path(f"{task}-{model}-{seed}.safetensors"))
    data = tasks.load(task)
    with epochs_shown(f"{task} {model}-{chosen.units} seed {seed}", chosen.epochs) as report:
        checkpoint = training.train(data, chosen, model=model, seed=seed, report=report)
    save_checkpoint(checkpoint, path)
    figures = checkpoint.figures
    line = f"epoch {figures['epoch']}: {figures['validation_accuracy']:.2%} of the validation part"
    if model == "egru":
        line += f" at {figures['validation_activity']:.2%} activity"
    Console().print(f"{line}; wrote {path}", highlight=False, soft_wrap=True)
