"""Widths that a user chooses: bits of weights, events, tables and input words, per tensor and per layer.

What is not here is fixed by docs/numerics.md for every network: states, thresholds and gates at fraction 15,
narrowed sums of 16 bits, biases of 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from egru.errors import EgretError
from egru.formats import EVENT_BITS_RANGE, TABLE_BITS_RANGE, WEIGHT_BITS_RANGE
from egru.untrusted import brief

#: Ends of the range of a signed input word's bits.
INPUT_BITS_RANGE = (2, 8)


@dataclass(frozen=True)
class Widths:
    """Bits of everything whose width is a choice. A tuple of one number is for all.

    Attributes
    ----------
    weights
        2..8: one number for all weights; or three, of input, recurrent and readout weights; or two for each
        layer, input and recurrent, and one for the readout.
    events
        Bits of an event's payload, 2..8: one number, or one for each layer.
    tables
        Index width of the sigmoid and tanh tables, 4..12: one number, or one for each layer.
    inputs
        Bits of a signed input word, 2..8.
    """

    weights: tuple[int, ...] = (8,)
    events: tuple[int, ...] = (8,)
    tables: tuple[int, ...] = (10,)
    inputs: int = 8

    def __post_init__(self) -> None:
        count = len(self.weights)
        low, high = WEIGHT_BITS_RANGE
        if (count != 1 and count % 2 == 0) or not count or not _all_within(self.weights, low, high):
            shown = self.weights[0] if count == 1 else self.weights
            raise EgretError(
                f"weight_bits must be one or three integers {low}..{high}, not {brief(shown)}; or two for "
                "each layer and one for the readout"
            )
        for name, values, (low, high) in (
            ("event_bits", self.events, EVENT_BITS_RANGE),
            ("table_bits", self.tables, TABLE_BITS_RANGE),
        ):
            if len(values) == 0 or not _all_within(values, low, high):
                bad = next((v for v in values if not _all_within((v,), low, high)), ())
                raise EgretError(
                    f"{name} must be an integer {low}..{high}, not {brief(bad)}; or one for each layer"
                )
        low, high = INPUT_BITS_RANGE
        if not _all_within((self.inputs,), low, high):
            raise EgretError(f"input_bits must be an integer {low}..{high}, not {brief(self.inputs)}")

    @classmethod
    def of(
        cls,
        weight_bits: int | Sequence[int] = 8,
        event_bits: int | Sequence[int] = 8,
        table_bits: int | Sequence[int] = 10,
        input_bits: int = 8,
    ) -> Widths:
        """Make widths of numbers or sequences of numbers.

        Raises
        ------
        EgretError
            If a width is out of range.
        """
        return cls(_tuple(weight_bits), _tuple(event_bits), _tuple(table_bits), input_bits)

    def check_layers(self, layers: int) -> Widths:
        """Return self if a network of ``layers`` layers can have these widths, else raise EgretError."""
        if len(self.weights) not in (1, 3, 2 * layers + 1):
            counts = "one or three" if layers == 1 else f"one, three or {2 * layers + 1}"
            raise EgretError(
                f"weight_bits must be {counts} integers for {layers} layer{'s' * (layers > 1)}, "
                f"not {brief(self.weights)}"
            )
        for name, values in (("event_bits", self.events), ("table_bits", self.tables)):
            if len(values) not in (1, layers):
                raise EgretError(
                    f"{name} must be one integer, or one for each of {layers} layers, not {brief(values)}"
                )
        return self

    def layer(self, k: int) -> dict[str, Any]:
        """Bits of layer ``k``, by their names in `egru.image.LayerSpec`."""
        if len(self.weights) <= 3:
            pair = (self.weights[0], self.weights[len(self.weights) // 2])
        else:
            pair = (self.weights[2 * k], self.weights[2 * k + 1])
        return {
            "input_weight_bits": pair[0],
            "recurrent_weight_bits": pair[1],
            "event_bits": self.events[k if len(self.events) > 1 else 0],
            "table_bits": self.tables[k if len(self.tables) > 1 else 0],
        }

    @property
    def label(self) -> str:
        """The widths in words, without those that are as usual: "8 bits" or "weights 4 4 8, events 6"."""
        parts = [f"{self.weights[0]} bits" if len(self.weights) == 1 else f"weights {_spaced(self.weights)}"]
        usual = Widths()
        for name in ("events", "tables", "inputs"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                parts.append(f"{name} {_spaced(_tuple(value))}")
        return ", ".join(parts)

    @property
    def readout(self) -> int:
        """Bits of a readout weight."""
        return self.weights[-1]


def _tuple(bits: Any) -> tuple:
    return tuple(bits) if isinstance(bits, (tuple, list)) else (bits,)


def _spaced(values: Sequence[int]) -> str:
    return " ".join(str(v) for v in values)


def _all_within(values: Sequence, low: int, high: int) -> bool:
    return all(type(v) is int and low <= v <= high for v in values)
