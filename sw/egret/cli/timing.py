"""`egret timing`: a timing diagram from a simulation of the hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.writing import check_output

from .options import Lanes, UpdateLanes, accelerator_config


def timing(
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .svg or .png.")],
    image: Annotated[
        Path | None, typer.Argument(help="Network image; by default the shipped network of the task.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Task whose first test sequence is played; by default that of the image, without one digits."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of it to draw, 1 to 20.")] = 4,
    lanes: Lanes = "16",
    update_lanes: UpdateLanes = None,
) -> None:
    """Draw what the first layer's lanes, update and encoder do in each cycle of a few steps on real data."""
    from egret import timing
    from egret.sampling import network_and_task, numbered
    from egru.errors import EgretError

    if not 1 <= steps <= 20:
        raise EgretError(f"steps must be an integer from 1 to 20, not {steps}")
    if output.suffix not in (".svg", ".png"):
        raise EgretError(f"output must end in .svg or .png, not {output.name!r}")
    check_output(output, image)
    network, name = network_and_task(image, "digits" if image is None and task is None else task)
    config = accelerator_config(lanes, update_lanes, None, 16)
    x = numbered(network, name, "0")[0][0][:steps]
    with Console(stderr=True).status(f"simulating {steps} steps of {network.name}"):
        trace = timing.record(network, config, x)
    layer = network.layers[0].spec
    timing.draw(
        trace,
        output,
        title=f"{network.name}: {layer.inputs} inputs, {layer.units} units, {lanes} lanes",
    )
    Console().print(f"wrote {output}: {len(x)} steps in {trace.ticks[-1] + 1} cycles")
