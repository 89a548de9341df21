"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from egret.numerals import whole_numbers

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


def seed_of(what: str) -> Any:
    """Return the option ``--seed`` of a command that draws or places with it."""
    return typer.Option(help=f"Seed of {what}, 0 to 2147483647.")


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
        lanes=_one_or_more("lanes", lanes),
        update_lanes=None if update_lanes is None else _one_or_more("update-lanes", update_lanes),
        readout_lanes=readout_lanes,
        queue_depth=queue_depth,
        streams=streams,
        weights=weights,
        compact=compact,
        protection=protection,
    )


def _one_or_more(name: str, text: str) -> int | tuple[int, ...]:
    numbers = whole_numbers(name, text)
    return numbers[0] if len(numbers) == 1 else numbers
