"""`egret train`: a float network from a task's data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from egret.console import Console
from egru.writing import check_directory, check_output, check_outputs

from .progress import epochs_shown, need_torch

if TYPE_CHECKING:
    from egret.training import Report


def train(
    task: Annotated[str, typer.Argument(help="Task, for example digits or har.")],
    seed: Annotated[
        int, typer.Option(help="Seed of the initial weights, the batches and the noise, 0 to 2^63 - 1.")
    ] = 0,
    units: Annotated[int | None, typer.Option(help="Units per layer; by default the task's recipe.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers; by default the task's recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; by default the task's recipe.")] = None,
    model: Annotated[str, typer.Option(help="egru, or gru for the dense baseline.")] = "egru",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value of the recipe (sw/egret/recipes.py); may be repeated."),
    ] = None,
    book: Annotated[
        str, typer.Option("--recipe", help="default, or paper for the paper's configuration.")
    ] = "default",
    data: Annotated[
        Path | None, typer.Option(help="Directory of the data; for wikitext-2, which is not fetched.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Checkpoint; by default TASK-MODEL-SEED.safetensors."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    log_csv: Annotated[
        Path | None, typer.Option(help="Figures of every epoch; by default the checkpoint's name, .csv.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Directory for TensorBoard's log; by default none is written.")
    ] = None,
) -> None:
    """Train a float network, and keep the epoch that is best on the validation part.

    The pressure towards few events sets in after the first third of the epochs. The test part is not used.
    After every epoch the state of the training is saved beside the checkpoint, until that is written.
    """
    from egret import tasks
    from egret.books import recipe
    from egret.recipes import check_model, check_seed
    from egret.settings import changed
    from egru.errors import EgretError

    text = tasks.is_text(task)
    base = recipe(task, book)
    if data is not None and not text:
        raise EgretError(f"--data is for texts that are not fetched, not for {task}")
    chosen = changed(base, settings or (), units=units, layers=layers, epochs=epochs)
    check_model(model)
    check_seed(seed)
    need_torch(chosen.threads)
    from egret import distributed, training
    from egret.checkpoint import command_of, save_checkpoint
    from egret.logs import CsvLog, TensorBoardLog, Together
    from egret.selection import told, told_above_limit
    from egret.state import state_path
    from egret.tasks.wikitext import FILES

    path = check_output(output or Path(f"{task}-{model}-{seed}.safetensors"))
    state, log = state_path(path), log_csv or path.with_suffix(".csv")
    check_outputs((path, state, log), *([] if data is None else [data / name for name in FILES.values()]))
    if state.exists() and not resume:
        raise EgretError(
            f"{state} is the state of an interrupted run: go on with --resume, or delete it to start again"
        )
    team = distributed.team(device)
    logs: list[Report] = []
    if team.rank == 0:
        logs.append(CsvLog(log))
        if tensorboard is not None:
            logs.append(TensorBoardLog(check_directory(tensorboard)))
    notes = Console(stderr=True, quiet=team.rank > 0)
    if resume and not state.exists():
        notes.print(f"there is no state {state}: training starts from the beginning", soft_wrap=True)
    for turn in (team.rank == 0, team.rank > 0):  # the first process fetches the data for all
        if turn:
            content = tasks.load_text(task, data) if text else tasks.load(task)
        team.shared(None)
    try:
        with epochs_shown(f"{task} {model}-{chosen.label} seed {seed}", chosen.epochs) as shown:
            report = Together(shown, *logs) if team.rank == 0 else None
            checkpoint = training.train(
                content, chosen, model=model, seed=seed, report=report, state=state, team=team
            )
    except KeyboardInterrupt:
        if state.exists():
            words = ["-o", str(path)]
            for option, value in (("--data", data), ("--log-csv", log_csv), ("--tensorboard", tensorboard)):
                words += [option, str(value)] if value else []
            again = f"{command_of(task, model, seed, chosen)} {shlex.join(words)} --resume"
            notes.print(f"egret: interrupted; to go on after the last whole epoch: {again}", soft_wrap=True)
        else:
            notes.print("egret: interrupted before the first epoch was done: there is nothing to resume")
        raise typer.Exit(130) from None
    if team.rank > 0:
        return
    save_checkpoint(checkpoint, path)
    state.unlink(missing_ok=True)
    line = f"epoch {checkpoint.figures['epoch']}: {told(checkpoint.figures)}; wrote {path}"
    Console().print(line, soft_wrap=True)
    if warning := told_above_limit(checkpoint.figures, chosen.activity_limit):
        notes.print(f"egret: {warning}")
