"""`egret simulate`: the RTL of a network in Verilator, on real data, against the integer model."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from egru.errors import EgretError
from egru.image import NetworkImage, load_image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from egret_sim.report import Report


class StallMode(str, Enum):
    """Which runs to make."""

    none = "none"
    random = "random"
    both = "both"


def simulate(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task whose test sequences are played; by default the one that the image names.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Test sequences to play, drawn at random.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the stalls.")] = 1,
    stalls: Annotated[
        StallMode, typer.Option(help="Random gaps on the streams, none (cycle figures need it), or a run of each.")
    ] = StallMode.both,
    lanes: Annotated[int | None, typer.Option(help="Multipliers in each layer's tile.")] = None,
    update_lanes: Annotated[int | None, typer.Option(help="Units updated per cycle in each tile.")] = None,
    waves: Annotated[bool, typer.Option("--waves", help="Also write a waveform (VCD); slower to build and run.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the figures; by default build/<network>/simulation.json.")
    ] = None,
) -> None:
    """Play real test sequences through the RTL and compare every event, tick and logit with the golden model.

    Exit status: 0 if every bit is right; 1 on a mismatch, on a time-out, or if nothing was compared; 2 on bad input.
    """
    console = Console()
    network, name = _network(image, task)
    sequences, labels = _draw(network, name, samples, seed)
    reports = _run(console, network, sequences, labels, seed, stalls, lanes, update_lanes, waves, report)
    if not all(one.passed for one in reports):
        raise typer.Exit(1)


def _network(path: Path | None, task: str | None) -> tuple[NetworkImage, str]:
    """The image, and the name of the task whose data it takes."""
    from egret import networks, tasks

    if path is None:
        if task is None:
            raise EgretError("simulate needs an image or --task")
        tasks.check_name(task)
        path = networks.shipped(task)
    network = load_image(path)
    named = task or network.info.get("task") or network.name
    if task is None and named not in tasks.NAMES:
        raise EgretError(f"{path}: the image names no known task; say which with --task")
    return network, tasks.check_name(named)


def _draw(network: NetworkImage, task: str, samples: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences as integers, and their labels."""
    from egret import tasks

    if samples < 1:
        raise EgretError(f"samples must be 1 or more, not {samples}")
    if seed < 0:
        raise EgretError(f"seed must be 0 or more, not {seed}")
    data = tasks.load(task).test
    if samples > len(data):
        raise EgretError(f"samples must be at most {len(data)}, the test sequences of {task}, not {samples}")
    if data.x[0].shape[1] != network.input.size:
        raise EgretError(
            f"task {task} has {data.x[0].shape[1]} inputs, but network {network.name} has {network.input.size}"
        )
    chosen = data.subset(np.random.default_rng(seed).permutation(len(data))[:samples])
    return [network.input.format.quantise(x) for x in chosen.x], chosen.y


def _run(
    console: Console,
    network: NetworkImage,
    sequences: list[np.ndarray],
    labels: np.ndarray,
    seed: int,
    stalls: StallMode,
    lanes: int | None,
    update_lanes: int | None,
    waves: bool,
    path: Path | None,
) -> list[Report]:
    from egret_hw.config import AcceleratorConfig
    from egret_sim.build import SimulationError, build_root
    from egret_sim.cosimulation import Stalls
    from egret_sim.report import table_of
    from egret_sim.run import prepare
    from egret_sim.run import simulate as cosimulate

    config = AcceleratorConfig(update_lanes=update_lanes, **({} if lanes is None else {"lanes": lanes}))
    folder = build_root() / network.name
    modes = {"none": [None], "random": [Stalls()], "both": [None, Stalls()]}[stalls.value]
    reports: list[Report] = []
    try:
        with console.status(f"building the simulation of {network.name}"):
            built = prepare(network, config, waves=waves)
        for mode in modes:
            with _progress(console) as bar:
                label = f"{network.name}, {'random' if mode else 'no'} stalls"
                line = bar.add_task(label, total=len(sequences))
                run = cosimulate(
                    network,
                    sequences,
                    seed=seed,
                    stalls=mode,
                    built=built,
                    directory=folder / f"waves-{'random' if mode else 'none'}" if waves else None,
                    progress=lambda now, bar=bar, line=line: bar.update(line, completed=now.sequences),
                )
                bar.update(line, completed=run.work.sequences)
            reports.append(run)
            if not run.passed:
                break
    except SimulationError as error:
        typer.echo(f"egret: {error}", err=True)
        raise typer.Exit(1) from None
    console.print(table_of(reports, title=f"{network.name}: RTL against the integer model, seed {seed}"))
    for run in reports:
        if run.problem:
            typer.echo(f"egret: {run.problem}", err=True)
            typer.echo(f"egret: the run's files are in {run.outcome.directory}", err=True)
    if waves:
        console.print(f"waveforms: {folder}/waves-*/dump.vcd")
    _write(path or folder / "simulation.json", reports)
    return reports


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sequences"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _write(path: Path, reports: list[Report]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(json.dumps([report.as_dict() for report in reports], indent=2) + "\n")
        partial.replace(path)
    except OSError as error:
        raise EgretError(f"cannot write {path}: {error.strerror}") from None
