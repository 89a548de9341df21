"""Tokens as arrays: from the bits of a port to kind, index and value, and back.

The layout of a port (names, offsets, widths and signs of its fields) comes from the JSON sidecar that the
generator writes beside the Verilog, so nothing here knows how a particular accelerator packs its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

EVENT, TICK, END, PASS = 0, 1, 2, 3
KIND_NAMES = {EVENT: "EVENT", TICK: "TICK", END: "END", PASS: "PASS"}
#: A token must fit one word of the harness's memories.
MAX_TOKEN_BITS = 64


@dataclass(frozen=True)
class Field:
    """One field of a token: its place in bits, least significant first."""

    name: str
    offset: int
    width: int
    signed: bool


@dataclass(frozen=True)
class TokenLayout:
    """How the tokens of one port are packed."""

    width: int
    kind: Field
    index: Field
    value: Field

    @classmethod
    def from_port(cls, port: Mapping[str, Any]) -> TokenLayout:
        """The layout of one entry of a sidecar's ``ports``. A field of width 0 reads as 0."""
        fields = {f["name"]: Field(f["name"], f["offset"], f["width"], f["signed"]) for f in port["fields"]}
        missing = {"kind", "index", "value"} - fields.keys()
        if missing:
            raise ValueError(
                f"a token must have the fields kind, index and value; missing: {sorted(missing)}"
            )
        if port["width"] > MAX_TOKEN_BITS:
            raise ValueError(f"a token must have at most {MAX_TOKEN_BITS} bits, not {port['width']}")
        return cls(port["width"], fields["kind"], fields["index"], fields["value"])

    def decode(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kinds, indices and values (int64 arrays) of tokens given as uint64 words."""
        return (
            self._extract(words, self.kind),
            self._extract(words, self.index),
            self._extract(words, self.value),
        )

    def encode(self, kind: np.ndarray, index: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Tokens as uint64 words. Raises ValueError for what does not fit its field."""
        word = np.zeros(len(kind), np.uint64)
        for field, array in ((self.kind, kind), (self.index, index), (self.value, value)):
            array = np.asarray(array, np.int64)
            low = -(1 << field.width - 1) if field.signed and field.width else 0
            high = (1 << field.width - field.signed) - 1 if field.width else 0
            if len(array) and (array.min() < low or array.max() > high):
                raise ValueError(f"{field.name} must be in {low}..{high}, not {array.min()}..{array.max()}")
            mask = np.uint64((1 << field.width) - 1)
            word |= (array.astype(np.uint64) & mask) << np.uint64(field.offset)
        return word

    @staticmethod
    def _extract(words: np.ndarray, field: Field) -> np.ndarray:
        if field.width == 0:
            return np.zeros(len(words), np.int64)
        raw = (words >> np.uint64(field.offset)) & np.uint64((1 << field.width) - 1)
        array = raw.astype(np.int64)
        if field.signed:
            array = array - ((array >> (field.width - 1)) << field.width)
        return array
