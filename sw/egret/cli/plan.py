"""`egret plan`: lanes for each tile, from the activity of real data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.console import Console, complain
from egret.files import write_report
from egru.errors import EgretError
from egru.writing import check_output

from .options import QueueDepth, Streams, seed_of

if TYPE_CHECKING:
    from egret.plan import Plan
    from egret_sim.report import Report


def plan(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    board: Annotated[str, typer.Option(help="Board, such as ulx3s_85f.")] = "ulx3s_85f",
    multipliers: Annotated[
        int | None, typer.Option(help="Multipliers to spend; by default all that the board has.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task whose test data it is to be fast for; by default the one the image names."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Test sequences, drawn at random.")] = 30,
    seed: Annotated[int, seed_of("the draw")] = 1,
    streams: Streams = 1,
    queue_depth: QueueDepth = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Simulate the RTL, too, and show its cycles beside.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the plan.")] = None,
) -> None:
    """Share a board's multipliers among lanes, updates and readout so that all tiles take equal time.

    Cycles are predicted without RTL, for the same test sequences as `egret simulate` plays with this seed.
    """
    from egret.sampling import check_seed

    check_seed(seed)
    from egret.build.boards import board_named
    from egret.plan import available_multipliers, make_plan
    from egret.sampling import draw, network_and_task
    from egret_hw.config import QUEUE_DEPTH
    from egret_hw.cycle_model import activity_of

    chosen = board_named(board)
    if chosen.compact:
        raise EgretError(
            f"board must be one without the compact form, not {board}: the cycle model does not know that "
            "form; measure its cycles in RTL instead (egret simulate --compact)"
        )
    available = available_multipliers(chosen.device)
    if multipliers is not None and not 1 <= multipliers <= available:
        raise EgretError(f"multipliers must be 1 to {available}, as {board} has, not {multipliers}")
    network, name = network_and_task(image, task)
    if output is not None:
        check_output(output, image)
    sequences, _ = draw(network, name, samples, seed)
    with Console(stderr=True).status(f"{network.name}: running the integer model") as status:
        activities = activity_of(network, sequences)
        found = make_plan(
            network,
            activities,
            multipliers=available if multipliers is None else multipliers,
            streams=streams,
            queue_depth=QUEUE_DEPTH if queue_depth is None else queue_depth,
            progress=lambda tried: status.update(f"{network.name}: {tried} configurations tried"),
        )
    measured = _measure(found, sequences, seed) if measure else None
    if output is not None:
        figures = found.as_dict()
        if measured is not None:
            figures["measured"] = measured.as_dict()
        write_report(output, figures)
    console = Console()
    title = f"{network.name} with {found.multipliers} of {found.available} multipliers, {name} test data"
    console.print(title, soft_wrap=True)
    console.print(_tiles(found))
    console.print(_totals(found, measured))
    console.print(found.options, soft_wrap=True)
    if measured is not None and measured.problem:
        complain(f"{measured.problem}")
        raise typer.Exit(1)


def _tiles(found: Plan) -> Table:
    table = Table()
    for heading in ("", "units", "lanes", "update lanes", "words / event", "events / step", "busy %"):
        table.add_column(heading, justify="right" if heading else "left")
    cycles, config = found.cycles, found.config.resolve(found.image)
    updates = [*map(str, config.update_lanes), "-"]
    units = [*(layer.spec.units for layer in found.image.layers), found.image.readout.spec.classes]
    for index, tile in enumerate([*cycles.tiles, cycles.readout]):
        events = tile.input_events + tile.recurrent_events + tile.gated_events
        table.add_row(
            f"layer {index}" if index < len(cycles.tiles) else "readout",
            f"{units[index]}",
            f"{tile.lanes}",
            updates[index],
            f"{tile.busy // events if events else 0}",
            f"{events / cycles.steps:.2f}",
            f"{100 * tile.busy / cycles.cycles:.1f}",
        )
    return table


def _totals(found: Plan, measured: Report | None) -> Table:
    columns = [
        (
            f"{found.cycles.cycles}",
            f"{found.cycles.per_step:.1f}",
            f"{found.layers_busy_percent:.1f}",
            f"{found.busy_percent:.1f}",
            f"{found.effective_over_peak:.2f}",
        )
    ]
    if measured is not None:
        columns.append(
            (
                f"{measured.cycles}",
                f"{measured.cycles_per_step:.1f}",
                f"{measured.layers_busy_percent:.1f}",
                f"{measured.busy_percent:.1f}",
                f"{measured.effective_over_peak:.2f}",
            )
        )
    table = Table()
    for heading, _ in zip(("", "predicted", "RTL"), ("", *columns), strict=False):
        table.add_column(heading, justify="right" if heading else "left")
    headings = (
        "cycles",
        "cycles / step",
        "busy MAC %, layers",
        "busy MAC %, with readout",
        "effective / peak",
    )
    for number, heading in enumerate(headings):
        table.add_row(heading, *(column[number] for column in columns))
    return table


def _measure(found: Plan, sequences: list, seed: int) -> Report:
    from egret_sim.build import SimulationError
    from egret_sim.run import simulate

    try:
        with Console(stderr=True).status(f"{found.image.name}: simulating the RTL"):
            return simulate(found.image, sequences, found.config, seed=seed)
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None
