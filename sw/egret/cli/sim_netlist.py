"""`egret sim-netlist`: what synthesis makes of an accelerator, in Verilator, against the integer model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.cli.options import QueueDepth, ReadoutLanes, Streams, UpdateLanes, accelerator_config, seed_of
from egret.console import Console, complain
from egret.files import write_report
from egru.writing import check_outputs

if TYPE_CHECKING:
    from egret.netlist import Netlist


def sim_netlist(
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    family: Annotated[str, typer.Option(help="FPGA family: ice40, ecp5 or gowin.")] = "ecp5",
    task: Annotated[
        str | None,
        typer.Option(help="Task whose test data is played; by default the one that the image names."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Test sequences to play, drawn at random.")] = 5,
    seed: Annotated[int, seed_of("the draw and of the stalls")] = 1,
    lanes: Annotated[
        str | None,
        typer.Option(
            help="Multipliers in each layer's tile, 1 to 64, by default 16, on ice40 8; with commas, one "
            "number for each layer."
        ),
    ] = None,
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    streams: Streams = 1,
    compact: Annotated[
        bool | None,
        typer.Option(
            "--compact/--no-compact", help="The form for small devices; by default on ice40, and only there."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The layers' weights: fixed or loaded; by default loaded on ice40, else fixed."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="JSON file for the figures; by default build/NETWORK/netlist-FAMILY.json."),
    ] = None,
) -> None:
    """Synthesise a network's accelerator for a family, and play real test sequences through the netlist.

    Every event, tick and logit is compared with the integer model, without stalls and with random ones.
    For ice40 the accelerator is by default the one that the iCEBreaker gets.
    Exit status: 0 if every bit is right; 1 on a mismatch, on a time-out, or if nothing was compared; 2 on bad
    input.
    """
    from egret.sampling import check_seed

    check_seed(seed)
    from egret.netlist import default_config, prepare, synthesise
    from egret.sampling import draw, network_and_task

    default = default_config(family)
    network, name = network_and_task(image, task)
    sequences, _ = draw(network, name, samples, seed)
    config = accelerator_config(
        str(default.lanes) if lanes is None else lanes,
        update_lanes,
        readout_lanes,
        queue_depth,
        streams,
        default.weights if weights is None else weights,
        default.compact if compact is None else compact,
    )

    from egret.build.tools import shown_stage
    from egret_sim.build import SimulationError, network_folder
    from egret_sim.cosimulation import Stalls
    from egret_sim.report import table_of
    from egret_sim.run import simulate

    console, errors = Console(), Console(stderr=True)
    folder = network_folder(network.name)
    path, log = report or folder / f"netlist-{family}.json", folder / f"netlist-{family}.log"
    check_outputs((path, log), image)
    runs = []
    netlist = synthesise(network, family, config, console=errors, log=log)
    try:
        with shown_stage(f"{network.name}, {family}: building the simulation", errors):
            built = prepare(network, netlist)
        for stalls in (None, Stalls()):
            title = f"{network.name}, {family}: {'random' if stalls else 'no'} stalls"
            with shown_stage(title, errors):
                runs.append(simulate(network, sequences, built=built, seed=seed, stalls=stalls))
            if not runs[-1].passed:
                break
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None
    figures = {
        "family": family,
        "parameters": netlist.sidecar["parameters"],
        "cells": netlist.cells,
        "runs": [run.as_dict() for run in runs],
    }
    write_report(path, figures)
    console.print(
        f"{network.name}: netlist for {family} against the integer model, {name} test data, seed {seed}",
        soft_wrap=True,
    )
    form = "compact" if config.compact else "full"
    console.print(f"{_lanes_of(netlist)} lanes, {form} form, {config.weights} weights")
    console.print(table_of(runs))
    console.print(_cell_table(netlist.cells))
    for run in runs:
        if run.problem:
            complain(f"{run.problem}; the run's files are in {run.outcome.directory}")
            raise typer.Exit(1)


def _lanes_of(netlist: Netlist) -> str:
    """Lanes of each layer, as the option has them."""
    return ",".join(str(lanes) for lanes in netlist.sidecar["parameters"]["lanes"])


def _cell_table(cells: dict[str, int]) -> Table:
    table = Table(title="cells of the netlist", title_justify="left")
    table.add_column("cell")
    table.add_column("count", justify="right")
    for cell, count in sorted(cells.items()):
        table.add_row(cell, str(count))
    return table
