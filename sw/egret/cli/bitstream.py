"""`egret bitstream`: a network image on an FPGA board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .options import Lanes, Protection, QueueDepth, ReadoutLanes, UpdateLanes, accelerator_config


def bitstream(
    image: Annotated[Path, typer.Argument(help="Network image.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for the results; made if need be.")
    ],
    board: Annotated[str, typer.Option(help="Board, such as ulx3s_85f.")] = "ulx3s_85f",
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = 16,
    protection: Protection = "none",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the placement.")] = 1,
) -> None:
    """Build a bitstream with the network behind a serial port; report resources, clock and memories."""
    from egret.build.boards import board_named
    from egru.image import load_image

    chosen = board_named(board)
    network = load_image(image)
    config = accelerator_config(lanes, update_lanes, readout_lanes, queue_depth, protection=protection)
    from egret.build.flow import BITSTREAM, build_bitstream
    from egret.build.tables import memory_table, resource_table

    report = build_bitstream(network, chosen, output, config=config, seed=seed)
    console = Console()
    console.print(memory_table(report))
    console.print(resource_table(report))
    console.print(f"wrote {output / BITSTREAM}", highlight=False, soft_wrap=True)
