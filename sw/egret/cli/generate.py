"""`egret generate`: a network image as Verilog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_directory

from .options import (
    Compact,
    Lanes,
    Protection,
    QueueDepth,
    ReadoutLanes,
    Streams,
    UpdateLanes,
    Weights,
    accelerator_config,
)


def generate(
    image: Annotated[Path, typer.Argument(help="Network image.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for the results; made if need be.")
    ],
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
    readout_lanes: ReadoutLanes = None,
    queue_depth: QueueDepth = None,
    streams: Streams = 1,
    weights: Weights = "fixed",
    compact: Compact = False,
    protection: Protection = "none",
    family: Annotated[
        str, typer.Option(help="Whose hard blocks to use: generic (inferred), ecp5 or ice40.")
    ] = "generic",
) -> None:
    """Write the accelerator as Verilog, and a JSON sidecar of its parameters, ports and memories."""
    from egret_hw import generate as generator
    from egru.image import load_image

    network = load_image(image)
    check_directory(output, (f"{generator.TOP}.v", f"{generator.TOP}.json"), (image,))
    config = accelerator_config(
        lanes, update_lanes, readout_lanes, queue_depth, streams, weights, compact, protection
    )
    with Console(stderr=True).status(f"generating {network.name}"):
        sidecar = generator.generate(network, output, config, family=family)
    parameters = sidecar["parameters"]
    bits = sum(memory["bits"] for memory in sidecar["memories"])
    Console().print(
        f"{network.name}: wrote {output / generator.TOP}.v and .json: "
        f"lanes {_listed(parameters['lanes'])}, update lanes {_listed(parameters['update_lanes'])}, "
        f"readout lanes {parameters['readout_lanes']}, "
        f"{len(sidecar['memories'])} kinds of memory with {bits} bits",
        soft_wrap=True,
    )


def _listed(numbers) -> str:
    return ",".join(str(number) for number in numbers)
