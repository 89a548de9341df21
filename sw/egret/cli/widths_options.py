"""Options that choose the widths of a quantised network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from egret.numerals import whole_numbers
from egru.errors import EgretError
from egru.widths import Widths

Bits = Annotated[int | None, typer.Option(help="Bits of every weight, 2 to 8; 8 if nothing else is said.")]
WeightBits = Annotated[
    str | None,
    typer.Option(
        help="Instead of --bits: input,recurrent,readout; or input and recurrent of each layer, then readout."
    ),
]
EventBits = Annotated[
    str | None, typer.Option(help="Bits of an event's payload, 2 to 8 [8]; with commas, one for each layer.")
]
TableBits = Annotated[
    str | None,
    typer.Option(help="Index width of the activation tables, 4 to 12 [10]; with commas, one for each layer."),
]
InputBits = Annotated[int | None, typer.Option(help="Bits of an input word, 2 to 8 [8].")]


@dataclass(frozen=True)
class Chosen:
    """Widths, and the options that ask for them, as words of a command."""

    widths: Widths
    words: str


def chosen_widths(
    bits: int | None = None,
    weight_bits: str | None = None,
    event_bits: str | None = None,
    table_bits: str | None = None,
    input_bits: int | None = None,
) -> Chosen:
    """Widths from options; raises EgretError where one is no number, out of range, or given twice."""
    from egret.quantisation import check_bits

    if bits is not None and weight_bits is not None:
        raise EgretError("give --bits (all weights) or --weight-bits (tensor by tensor), and not both")
    if weight_bits is None:
        weights: tuple[int, ...] = (check_bits(8 if bits is None else bits),)
        words = f"--bits {weights[0]}"
    else:
        weights = whole_numbers("weight-bits", weight_bits)
        words = f"--weight-bits {weight_bits}"
    for name, value in (("event", event_bits), ("table", table_bits), ("input", input_bits)):
        if value is not None:
            words += f" --{name}-bits {value}"
    usual = Widths()
    widths = Widths(
        weights=weights,
        events=usual.events if event_bits is None else whole_numbers("event-bits", event_bits),
        tables=usual.tables if table_bits is None else whole_numbers("table-bits", table_bits),
        inputs=usual.inputs if input_bits is None else input_bits,
    )
    return Chosen(widths, words)
