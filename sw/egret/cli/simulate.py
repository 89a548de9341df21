"""`egret simulate`: the RTL of a network in Verilator, on real data, against the integer model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from egret.cli.options import (
    Compact,
    Lanes,
    Protection,
    QueueDepth,
    ReadoutLanes,
    Streams,
    UpdateLanes,
    accelerator_config,
    seed_of,
)
from egret.console import Console, complain, progress_bar
from egret.files import write_report
from egru.writing import check_output

if TYPE_CHECKING:
    import numpy as np

    from egret_sim.cosimulation import Progress, Stalls
    from egret_sim.report import Report
    from egru.image import NetworkImage


class StallMode(StrEnum):
    """Which runs to make."""

    NONE = "none"
    RANDOM = "random"
    BOTH = "both"


def simulate(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task whose test data is played; by default the one that the image names."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Test sequences to play, drawn at random.")] = 30,
    seed: Annotated[int, seed_of("the draw and of the stalls")] = 1,
    sequences: Annotated[
        str | None,
        typer.Option(help="Test sequences to play by number, 7 or 7-9, in place of a draw."),
    ] = None,
    stalls: Annotated[
        StallMode,
        typer.Option(help="Random gaps on the streams, none (for cycle figures), or a run of each."),
    ] = StallMode.BOTH,
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    streams: Streams = 1,
    protection: Protection = "none",
    compact: Compact = False,
    waves: Annotated[
        bool, typer.Option("--waves", help="Write waveforms (VCD), megabytes per step: take a sample or two.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the figures; by default build/NETWORK/simulation.json.")
    ] = None,
) -> None:
    """Play real test sequences through the RTL; compare every event, tick and logit with the integer model.

    Exit status: 0 if every bit is right; 1 on a mismatch, on a time-out, or if nothing was compared; 2 on bad
    input.
    """
    from egret.identity import identity
    from egret.sampling import check_seed, draw, network_and_task, numbered

    check_seed(seed)

    network, name = network_and_task(image, task)
    played, labels = (
        draw(network, name, samples, seed) if sequences is None else numbered(network, name, sequences)
    )
    config = accelerator_config(
        lanes, update_lanes, readout_lanes, queue_depth, streams, compact=compact, protection=protection
    )

    from egret_sim.build import SimulationError, network_folder
    from egret_sim.report import table_of
    from egret_sim.run import prepare
    from egret_sim.run import simulate as play

    folder = network_folder(network.name)
    path = check_output(report or folder / "simulation.json", image)
    modes = modes_of(stalls)
    runs: list[Report] = []
    try:
        with step_shown(f"{network.name}: generating the RTL and building its simulation"):
            built = prepare(network, config, waves=waves)
        for mode in modes:
            kind = "random" if mode else "no"
            with sequences_shown(f"{network.name}, {kind} stalls", len(played)) as shown:
                run = play(
                    network,
                    played,
                    seed=seed,
                    stalls=mode,
                    built=built,
                    directory=folder / f"waves-{kind}-stalls" if waves else None,
                    progress=shown,
                )
            runs.append(run)
            if not run.passed:
                break
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None
    whose = {"image": identity(network)}  # a folder is named as anybody may name a network
    write_report(path, [run.as_dict() | whose for run in runs])
    console = Console()
    title = f"{network.name}: RTL against the integer model, {name} test data, seed {seed}"
    console.print(title, soft_wrap=True)
    console.print(table_of(runs))
    if runs[0].passed:
        right = correct(network, played, labels)
        console.print(f"{what_is_correct(network)}: {right} of {len(played)}")
    if waves:
        console.print(f"waveforms: {folder}/waves-*/dump.vcd", soft_wrap=True)
    for run in runs:
        if run.problem:
            complain(f"{run.problem}; the run's files are in {run.outcome.directory}")
            raise typer.Exit(1)


def modes_of(stalls: StallMode) -> list[Stalls | None]:
    """The runs to make: None stands for one without stalls."""
    from egret_sim.cosimulation import Stalls

    modes: list[Stalls | None] = [None] if stalls is not StallMode.RANDOM else []
    return modes if stalls is StallMode.NONE else [*modes, Stalls()]


def what_is_correct(network: NetworkImage) -> str:
    """What `correct` counts, in words: of a text only the end of each passage has its answer beside it."""
    return "correct after the last token" if network.readout.spec.mode == "every" else "correct"


def correct(network: NetworkImage, sequences: list[np.ndarray], labels: np.ndarray) -> int:
    """How many sequences the network gets right; the RTL has been shown to agree with the model."""
    from egret_sim.run import GoldenTraces
    from egru.integer import decide

    last = -1 if network.readout.spec.mode == "every" else slice(None)
    answers = [int(decide(trace.logits[last])) for trace in GoldenTraces(network, sequences)]
    return sum(answer == label for answer, label in zip(answers, labels.tolist(), strict=True))


@contextmanager
def step_shown(text: str) -> Iterator[None]:
    """Say what goes on: a spinner on a terminal, a line elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text, soft_wrap=True)
        yield


@contextmanager
def sequences_shown(label: str, total: int) -> Iterator[Callable[[Progress], None]]:
    """Yield a function to call with how far the run is."""
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), "{task.description}", BarColumn(), MofNCompleteColumn(), "sequences")
    bar = progress_bar(console, *columns, TimeRemainingColumn())
    line = bar.add_task(label, total=total)
    said = 0

    def shown(now: Progress) -> None:
        nonlocal said
        done = now.sequences
        bar.update(line, completed=done)
        if not console.is_terminal and done * 4 // total > said:
            said = done * 4 // total
            console.print(f"{label}: {done} of {total} sequences", soft_wrap=True)

    with bar:
        yield shown
