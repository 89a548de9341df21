"""`egret bitstream`: a network image on an FPGA board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_directory

from .options import Protection, QueueDepth, ReadoutLanes, UpdateLanes, accelerator_config, seed_of


def bitstream(
    image: Annotated[Path, typer.Argument(help="Network image.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for the results; made if need be.")
    ],
    board: Annotated[str, typer.Option(help="Board, such as ulx3s_85f.")] = "ulx3s_85f",
    lanes: Annotated[
        str | None,
        typer.Option(
            help="Multipliers in each layer's tile, 1 to 64, by default the board's; with commas, one number "
            "for each layer."
        ),
    ] = None,
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    protection: Protection = "none",
    seed: Annotated[int, seed_of("the placement")] = 1,
) -> None:
    """Build a bitstream with the network behind a serial port; report resources, clock and memories."""
    from egret.sampling import check_seed

    check_seed(seed)
    from egret.build.boards import board_named
    from egru.image import load_image

    chosen = board_named(board)
    network = load_image(image)
    config = accelerator_config(
        lanes or str(chosen.lanes),
        update_lanes,
        readout_lanes,
        queue_depth,
        weights=chosen.weights,
        compact=chosen.compact,
        protection=protection,
    )
    from egret.build.flow import bitstream_name, build_bitstream, result_names
    from egret.build.tables import memory_table, resource_table

    check_directory(output, result_names(chosen), (image,))
    report = build_bitstream(network, chosen, output, config=config, seed=seed)
    console = Console()
    console.print(memory_table(report))
    console.print(resource_table(report))
    console.print(f"wrote {output / bitstream_name(chosen)}", soft_wrap=True)
