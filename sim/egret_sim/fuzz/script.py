"""The files between Python and the driver (``driver.cpp``): arrays of 64-bit words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from egret_hw.counters import COUNTED
from egret_sim.cosimulation import Stalls
from egret_sim.tokens import TokenLayout
from egret_sim.turns import Turn, encode

from .case import Phase

#: How a phase ended, by the driver's number.
FINISHED, RESET, STUCK, BROKEN, FLOODED, REFUSED = range(6)

WORD_BITS = 64


@dataclass(frozen=True)
class Record:
    """What the driver saw of a phase.

    ``faults`` are the bits of the port ``fault`` that were ever 1, where there is one. ``streams`` holds
    (token, cycle) rows of the logits, then of each tap; ``counters`` the values of each layer's counters at
    the end, in the order of :data:`egret_hw.counters.COUNTED`.
    """

    status: int
    cycles: int
    played: int
    ends: int
    faults: int
    counters: np.ndarray
    streams: list[np.ndarray]


def phase_words(
    phase: Phase,
    layout: TokenLayout,
    turns: Sequence[Turn],
    *,
    fresh: bool,
    weights: np.ndarray,
    settle: int,
    patience: int,
    flood: int,
) -> np.ndarray:
    """The script of one phase.

    Parameters
    ----------
    phase, layout, turns
        What is played, and how and in what order.
    fresh
        Whether it begins with a reset.
    weights
        Words to load before its first event, a row each; see :func:`weight_rows`.
    settle
        Cycles of silence that are to follow the last END.
    patience
        Cycles without any token after which it is given up.
    flood
        The number of tokens that no stream can have.
    """
    stimulus = encode(layout, phase.sequences, turns)
    head = [
        phase.seed,
        *_gaps(phase.source),
        *_gaps(phase.sink),
        min(phase.reset_tokens, len(stimulus)),
        phase.reset_delay,
        len(phase.sequences),
        settle,
        patience,
        flood,
        int(fresh),
        len(weights),
        len(stimulus),
    ]
    return np.concatenate([np.array(head, np.uint64), stimulus, weights.ravel()])


def load_words(sidecar: Mapping[str, Any]) -> int:
    """64-bit words of the widest port for weights, at least 1."""
    widths = [port["width"] for name, port in sidecar["ports"].items() if name.startswith("load")]
    return -(-max(widths, default=1) // WORD_BITS)


def weight_rows(sidecar: Mapping[str, Any], contents: Sequence[Sequence[int]]) -> np.ndarray:
    """What writes each layer's ``contents`` (words by address) through its port, a row for each word.

    A row has the layer's number and the port's payload, in :func:`load_words` words.
    """
    size = 1 + load_words(sidecar)
    rows = bytearray()
    for number, words in enumerate(contents):
        offsets = {field["name"]: field["offset"] for field in sidecar["ports"][f"load{number}"]["fields"]}
        for address, word in enumerate(words):
            payload = address << offsets["address"] | word << offsets["word"]
            rows += (number | payload << WORD_BITS).to_bytes(8 * size, "little")
    return np.frombuffer(bytes(rows), np.uint64).reshape(-1, size)


def _gaps(stalls: Stalls | None) -> tuple[int, int]:
    return (stalls.chance, stalls.mask) if stalls else (0, 0)


def read_records(words: np.ndarray, layers: int) -> list[Record]:
    """Take the driver's file apart, phase by phase. ValueError if it is cut off."""
    records, at = [], 0

    def take(count: int) -> np.ndarray:
        nonlocal at
        if at + count > len(words):
            raise ValueError("the driver's record is cut off")
        at += count
        return words[at - count : at]

    while at < len(words):
        status, cycles, played, ends, faults = (int(word) for word in take(5))
        counters = take(layers * len(COUNTED)).reshape(layers, -1).astype(np.int64)
        streams = [take(2 * int(take(1)[0])).reshape(-1, 2) for _ in range(1 + layers)]
        records.append(Record(status, cycles, played, ends, faults, counters, streams))
    return records
