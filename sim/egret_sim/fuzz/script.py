"""The files between Python and the driver (``driver.cpp``): arrays of 64-bit words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egret_hw.counters import COUNTED
from egret_sim.cosimulation import SETTLE_CYCLES, Stalls
from egret_sim.tokens import TokenLayout
from egret_sim.turns import Turn, encode

from .case import Phase

#: How a phase ended, by the driver's number.
FINISHED, RESET, STUCK, BROKEN, FLOODED = range(5)


@dataclass(frozen=True)
class Record:
    """What the driver saw of a phase.

    ``streams`` holds (token, cycle) rows of the logits, then of each tap; ``counters`` the values of each
    layer's counters at the end, in the order of :data:`egret_hw.counters.COUNTED`.
    """

    status: int
    cycles: int
    played: int
    ends: int
    counters: np.ndarray
    streams: list[np.ndarray]


def phase_words(
    phase: Phase, layout: TokenLayout, turns: Sequence[Turn], *, patience: int, flood: int
) -> np.ndarray:
    """The script of one phase. ``flood`` is the number of tokens that no stream can have."""
    stimulus = encode(layout, phase.sequences, turns)
    head = [
        phase.seed,
        *_gaps(phase.source),
        *_gaps(phase.sink),
        min(phase.reset_tokens, len(stimulus)),
        phase.reset_delay,
        len(phase.sequences),
        SETTLE_CYCLES,
        patience,
        flood,
        len(stimulus),
    ]
    return np.concatenate([np.array(head, np.uint64), stimulus])


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
        status, cycles, played, ends = (int(word) for word in take(4))
        counters = take(layers * len(COUNTED)).reshape(layers, -1).astype(np.int64)
        streams = [take(2 * int(take(1)[0])).reshape(-1, 2) for _ in range(1 + layers)]
        records.append(Record(status, cycles, played, ends, counters, streams))
    return records
