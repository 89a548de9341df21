"""The order in which the steps of sequences travel.

With one stream, sequences follow each other. With more, their steps take turns: stream 0, 1, .. and 0 again.
A stream takes up the next sequence when its own has ended; when there is none left, it passes. END follows
directly after the last TICK of its sequence, and PASS stands for a turn without a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from egret_sim.tokens import END, EVENT, PASS, TICK, TokenLayout


@dataclass(frozen=True)
class Turn:
    """A step (events, then TICK), the end of a sequence (END), or a turn that is given up (PASS).

    ``number`` counts turns of all kinds. Of END, ``step`` equals ``steps``; of PASS, all three are 0.
    """

    number: int
    kind: int
    sequence: int = 0
    step: int = 0
    steps: int = 0

    def __str__(self) -> str:
        """The token that closes it, for a message."""
        if self.kind == TICK:
            return f"TICK number {self.step + 1} of {self.steps}"
        return "END after the last TICK" if self.kind == END else "PASS"


def plan(lengths: Sequence[int], streams: int = 1) -> list[Turn]:
    """Turns of sequences of these lengths, in order."""
    turns: list[Turn] = []
    waiting = list(reversed(range(len(lengths))))
    active: list[tuple[int, int] | None] = [None] * streams  # sequence and its next step
    left = len(lengths)
    while left:
        for stream in range(streams):
            at = active[stream] or ((waiting.pop(), 0) if waiting else None)
            if at is None:
                turns.append(Turn(len(turns), PASS))
                continue
            sequence, step = at
            steps = lengths[sequence]
            turns.append(Turn(len(turns), TICK, sequence, step, steps))
            active[stream] = (sequence, step + 1)
            if step + 1 == steps:
                turns.append(Turn(len(turns), END, sequence, steps, steps))
                active[stream] = None
                left -= 1
                if not left:
                    break
    return turns


def encode(layout: TokenLayout, sequences: Sequence[np.ndarray], turns: Iterable[Turn]) -> np.ndarray:
    """The input tokens of turns, as uint64 words: the non-zero inputs of each step, and what closes it.

    ``sequences`` are integer arrays, steps x inputs.
    """
    turns = list(turns)
    if not turns:
        return np.zeros(0, np.uint64)
    closing = np.array([turn.kind for turn in turns])
    begins = np.cumsum([0, *(len(x) for x in sequences)])
    rows = np.array([begins[turn.sequence] + turn.step for turn in turns if turn.kind == TICK], np.int64)
    steps = np.concatenate([np.asarray(x) for x in sequences])[rows]
    step, units = np.nonzero(steps)
    events = np.zeros(len(turns), np.int64)
    events[closing == TICK] = np.bincount(step, minlength=len(steps))
    # Each turn takes the places of its events, in the order of the units, and one more.
    closes = np.cumsum(events + 1) - 1
    kind, index, value = (np.zeros(closes[-1] + 1, np.int64) for _ in range(3))
    kind[closes] = closing
    is_event = np.ones(len(kind), bool)
    is_event[closes] = False
    kind[is_event], index[is_event], value[is_event] = EVENT, units, steps[step, units]
    return layout.encode(kind, index, value)
