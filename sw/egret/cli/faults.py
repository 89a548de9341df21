"""`egret faults`: single bits flipped in the RTL while it runs, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from egret.cli.options import (
    Lanes,
    QueueDepth,
    ReadoutLanes,
    Streams,
    UpdateLanes,
    accelerator_config,
    seed_of,
)
from egret.console import Console, complain, progress_bar
from egru.errors import EgretError
from egru.writing import check_directory

if TYPE_CHECKING:
    from egret_hw.config import AcceleratorConfig
    from egret_sim.faults.campaign import Campaign
    from egru.image import NetworkImage


class Protections(StrEnum):
    """Which accelerators to try."""

    NONE = "none"
    PARITY = "parity"
    BOTH = "both"


def faults(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task whose test data is played; by default the one that the image names."),
    ] = None,
    flips: Annotated[int, typer.Option(help="Runs of each accelerator, with one flip each.")] = 1000,
    seed: Annotated[int, seed_of("the sequences and of the flips")] = 1,
    protection: Annotated[
        Protections, typer.Option(help="With parity, without, or a campaign of each.")
    ] = Protections.BOTH,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target", help="What to flip, such as weights or sums; again for more. By default all."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Test sequences that a run plays.")] = 2,
    cost: Annotated[
        bool, typer.Option("--cost", help="Synthesise for ECP5 and report what protection costs; no flips.")
    ] = False,
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    streams: Streams = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Directory for the figures; by default build/NETWORK."),
    ] = None,
) -> None:
    """Flip one random bit in each run, in a memory, a stream or a register; say what changed and was seen.

    Exit status: 0 if protection left no upset of a memory or a stream silent; 1 if it did; 2 on bad input.
    """
    from egret.sampling import check_seed

    check_seed(seed)
    from egret import faults as upsets
    from egret.faults import RESOURCES, cost_rows, load_figures, save_figures, synthesised_cost
    from egret.sampling import draw, network_and_task
    from egret_hw.protection import PROTECTIONS
    from egret_sim.build import SimulationError, network_folder
    from egret_sim.faults.targets import TARGETS

    for target in targets or []:
        if target not in TARGETS:
            raise EgretError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if flips < 1:
        raise EgretError(f"flips must be 1 or more, not {flips}")
    network, name = network_and_task(image, task)
    config = accelerator_config(lanes, update_lanes, readout_lanes, queue_depth, streams)
    folder = output or network_folder(network.name)
    check_directory(folder, (upsets.JSON, upsets.MARKDOWN, upsets.PICTURE), (image,))
    figures = load_figures(folder)
    console = Console()
    if cost:
        figures["cost"] = synthesised_cost(network, config, PROTECTIONS, Console(stderr=True))
        save_figures(figures, folder)
        title = f"{network.name}: after synthesis for ECP5"
        console.print(_table(title, ("protection", *RESOURCES.values()), cost_rows(figures["cost"])))
        return
    from egret.faults import SHOWN, shown_rows

    if samples < 1:
        raise EgretError(f"samples must be 1 or more, not {samples}")
    sequences, _ = draw(network, name, 8 * samples, seed)
    modes = PROTECTIONS if protection is Protections.BOTH else (protection.value,)
    silent = 0
    for mode in modes:
        try:
            campaign = _run(
                network, replace(config, protection=mode), sequences, flips, seed, samples, targets
            )
        except SimulationError as error:
            complain(error)
            raise typer.Exit(1) from None
        found: dict[str, Any] = {
            "sequences": samples,
            "lanes": config.resolve(network).lanes,
            **campaign.as_dict(),
        }
        figures["campaigns"][mode] = found
        save_figures(figures, folder)
        title = f"{network.name}, protection {mode}: {flips} single-bit upsets, seed {seed}"
        console.print(_table(title, SHOWN, shown_rows(found)))
        if mode != "none" and campaign.silent:
            silent += len(campaign.silent)
            worst = campaign.silent[0].as_dict()
            complain(
                f"protection {mode}: {len(campaign.silent)} silent upsets, the first: "
                f"bit {worst['bit']} of word {worst['word']} in {worst['path']} {worst['variable']}, "
                f"cycle {worst['cycle']}, changed: {worst['effect']}"
            )
    console.print(f"wrote {folder}", soft_wrap=True)
    if silent:
        raise typer.Exit(1)


def _run(
    network: NetworkImage,
    config: AcceleratorConfig,
    sequences: list,
    flips: int,
    seed: int,
    samples: int,
    targets: list[str] | None,
) -> Campaign:
    from egret_sim.faults.campaign import prepare, run_campaign

    label = f"{network.name}, protection {config.protection}"
    console = Console(stderr=True)
    console.print(f"{label}: building the simulation", soft_wrap=True)
    subject = prepare(network, config, registers=targets is None or "registers" in targets)
    with _runs_shown(label, flips, console) as shown:
        return run_campaign(
            subject, sequences, flips=flips, seed=seed, per_run=samples, kinds=targets, progress=shown
        )


@contextmanager
def _runs_shown(label: str, total: int, console: Console) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of finished runs: a bar on a terminal, lines elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = progress_bar(console, *columns)
    line = bar.add_task(label, total=total)
    said = 0

    def shown(done: int) -> None:
        nonlocal said
        bar.update(line, completed=done)
        if not console.is_terminal and done * 10 // total > said:
            said = done * 10 // total
            console.print(f"{label}: {done} of {total} flips", soft_wrap=True)

    with bar:
        yield shown


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if not number else "right")
    for row in rows:
        table.add_row(*row)
    return table
