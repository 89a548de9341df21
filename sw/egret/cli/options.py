"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from egru.errors import EgretError

if TYPE_CHECKING:
    from egret_hw.config import AcceleratorConfig

Lanes = Annotated[
    str,
    typer.Option(help="Multipliers in each layer's tile, 1 to 64; with commas, one number for each layer."),
]
UpdateLanes = Annotated[
    str | None,
    typer.Option(help="Units updated per cycle in each tile; with commas, one number for each layer."),
]
ReadoutLanes = Annotated[int | None, typer.Option(help="Multipliers in the readout.")]
QueueDepth = Annotated[
    int | None,
    typer.Option(help="Tokens that wait in front of each tile, 1 to 4096; by default 16, or 4 if compact."),
]
Weights = Annotated[
    str,
    typer.Option(help="The layers' weights: fixed (in the memories from the start) or loaded (at run time)."),
]
Compact = Annotated[
    bool,
    typer.Option("--compact", help="The form for small devices: less memory and logic, some more cycles."),
]
Streams = Annotated[int, typer.Option(help="Independent sequences whose steps are taken in turn, 1 to 16.")]

Protection = Annotated[
    str, typer.Option(help="Parity beside memories and streams: none or parity (docs/faults.md).")
]


def accelerator_config(
    lanes: str,
    update_lanes: str | None,
    readout_lanes: int | None,
    queue_depth: int | None,
    streams: int = 1,
    weights: str = "fixed",
    compact: bool = False,
    protection: str = "none",
) -> AcceleratorConfig:
    """The configuration that the options ask for; EgretError where one is not a number."""
    from egret_hw.config import AcceleratorConfig

    return AcceleratorConfig(
        lanes=_numbers("lanes", lanes),
        update_lanes=None if update_lanes is None else _numbers("update-lanes", update_lanes),
        readout_lanes=readout_lanes,
        queue_depth=queue_depth,
        streams=streams,
        weights=weights,
        compact=compact,
        protection=protection,
    )


def _numbers(name: str, text: str) -> int | tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise EgretError(
            f"{name} must be a number, or numbers with commas between them, not {text!r}"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers
