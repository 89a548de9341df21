"""Compares what an accelerator sent with what the golden model says, token by token.

Events of a step may come in any order, so a step is compared as a set: unit -> payload. Everything else
is compared as it comes: each step closes with TICK, a sequence closes with END directly after its last TICK,
logits come in the order of the classes.

No simulator is needed here: tokens come in as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from egret_sim.tokens import END, EVENT, KIND_NAMES, TICK

#: Name of the stream of logits; the streams of the layers are tap0, tap1, ...
LOGITS = "logits"
#: Mismatches beyond this many per stream are counted, but not kept.
KEPT_MISMATCHES = 20


class GoldenTrace(Protocol):
    """What the golden model says of one sequence (:class:`egru.integer.Trace` is one)."""

    @property
    def events(self) -> Sequence[np.ndarray]:
        """Per layer: steps x units, 0 is silent."""

    @property
    def logits(self) -> np.ndarray:
        """Classes, or steps x classes where every step has logits."""


@dataclass(frozen=True)
class Mismatch:
    """One disagreement. ``layer`` is a number, or "readout"; ``unit`` of a readout is a class.

    ``step`` is None for logits that come once, at the end of a sequence. ``unit`` is None where the
    disagreement is about the protocol, not about a value. ``cycle`` is the cycle in which the token came that
    showed it, for finding the place in a waveform.
    """

    sequence: int
    layer: int | str
    step: int | None
    unit: int | None
    expected: str
    got: str
    cycle: int | None = None

    def __str__(self) -> str:
        place = f"sequence {self.sequence}, layer {self.layer}, "
        place += "after the last step" if self.step is None else f"step {self.step}"
        if self.unit is not None:
            place += f", {'class' if self.layer == 'readout' else 'unit'} {self.unit}"
        at = "" if self.cycle is None else f" (cycle {self.cycle})"
        return f"{place}: expected {self.expected}, got {self.got}{at}"


@dataclass
class StreamCheck:
    """Where the comparison of one stream stands.

    ``compared`` counts values compared with the golden model: one per unit and step (silence is a value,
    too), or one per logit. ``broken`` is set by a breach of the protocol, after which the stream is not read
    on. A stream that is ``stepless`` answers once in a sequence.
    """

    layer: int | str
    compared: int = 0
    mismatched: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    broken: bool = False
    sequence: int = 0
    step: int = 0
    done: bool = False
    stepless: bool = False

    def report(self, unit: int | None, expected: str, got: str, cycle: int | None) -> None:
        """Note a mismatch at the current step."""
        self.mismatched += 1
        if len(self.mismatches) < KEPT_MISMATCHES:
            step = None if self.stepless else self.step
            self.mismatches.append(Mismatch(self.sequence, self.layer, step, unit, expected, got, cycle))

    def breach(self, expected: str, got: str, cycle: int | None) -> None:
        """Note a breach of the protocol: nothing that follows can be told apart."""
        self.report(None, expected, got, cycle)
        self.broken = True


class StreamComparator:
    """Compares one stream. Tokens are fed in pieces of any size; a step is compared once it is closed."""

    def __init__(
        self, layer: int | str, expected: Iterator[np.ndarray], *, ordered: bool, ticks: bool
    ) -> None:
        """Prepare to compare; ``expected`` yields one array per sequence, steps x size.

        ``ordered``: every index must come, in ascending order, and 0 is a value like any other (logits).
        Otherwise only the non-zero ones come, in any order. ``ticks``: each step closes with TICK; otherwise
        a sequence is one step, closed by its END.
        """
        self.check = StreamCheck(layer, stepless=not ticks)
        self._expected = expected
        self._ordered = ordered
        self._ticks = ticks
        self._table: np.ndarray | None = None
        self._rest = [np.zeros(0, np.int64) for _ in range(4)]
        self._advance()

    def _advance(self) -> None:
        self._table = next(self._expected, None)
        self.check.step = 0
        self.check.done = self._table is None

    def feed(self, kind: np.ndarray, index: np.ndarray, value: np.ndarray, cycle: np.ndarray) -> None:
        """Take further tokens."""
        arrays = [np.concatenate(pair) for pair in zip(self._rest, (kind, index, value, cycle), strict=True)]
        kind, index, value, cycle = arrays
        start = 0
        for close in np.nonzero(kind != EVENT)[0].tolist():
            if self.check.broken:
                break
            piece = slice(start, close)
            self._close(int(kind[close]), index[piece], value[piece], cycle[piece], int(cycle[close]))
            start = close + 1
        self._rest = [array[start:] for array in arrays]

    def _close(
        self, kind: int, index: np.ndarray, value: np.ndarray, cycle: np.ndarray, closed_at: int
    ) -> None:
        """Handle the events before a token that is no EVENT, and that token."""
        check, table = self.check, self._table
        name = KIND_NAMES.get(kind, f"a token of kind {kind}")
        if table is None:
            check.breach("nothing after the last sequence", name, closed_at)
            return
        if kind not in KIND_NAMES:
            check.breach("EVENT, TICK or END", name, closed_at)
            return
        at_end = check.step == len(table) if self._ticks else True
        if self._ticks and at_end:
            if len(index):
                check.breach("END after the last TICK", "EVENT", int(cycle[0]))
            elif kind != END:
                check.breach("END after the last TICK", name, closed_at)
            else:
                self._end()
            return
        if kind != (TICK if self._ticks else END):
            expected = f"TICK number {check.step + 1} of {len(table)}" if self._ticks else "END"
            # What came before the wrong token is compared all the same: it may say more.
            self._compare(table[check.step], index, value, cycle, closed_at)
            check.breach(expected, name, closed_at)
            return
        self._compare(table[check.step], index, value, cycle, closed_at)
        if self._ticks:
            check.step += 1
        else:
            self._end()

    def _end(self) -> None:
        self.check.sequence += 1
        self._advance()

    def _compare(
        self, expected: np.ndarray, index: np.ndarray, value: np.ndarray, cycle: np.ndarray, closed_at: int
    ) -> None:
        size = len(expected)
        fine = len(index) == 0 or int(index.max()) < size
        if fine and self._ordered:
            fine = len(index) == size and bool((index == np.arange(size)).all())
            fine = fine and bool((value == expected).all())
        elif fine:
            fine = bool((value != 0).all()) and bool((np.bincount(index, minlength=size) <= 1).all())
            if fine:
                got = np.zeros(size, np.int64)
                got[index] = value
                fine = bool((got == expected).all())
        if not fine:
            self._explain(expected, index, value, cycle, closed_at)
        self.check.compared += size

    def _explain(
        self, expected: np.ndarray, index: np.ndarray, value: np.ndarray, cycle: np.ndarray, closed_at: int
    ) -> None:
        """Report each mismatch of a group that was found to hold one."""
        check, size = self.check, len(expected)
        noun = "logit" if self._ordered else "event"
        seen: set[int] = set()
        for position, (unit, got, at) in enumerate(
            zip(index.tolist(), value.tolist(), cycle.tolist(), strict=True)
        ):
            if unit >= size:
                check.report(unit, f"an index below {size}", f"{noun} {got}", at)
                continue
            if unit in seen:
                check.report(unit, f"one {noun} in a step", f"another one, {got}", at)
                continue
            seen.add(unit)
            want = int(expected[unit])
            if self._ordered and position < size and unit != position:
                check.report(unit, f"class {position} next", f"class {unit}", at)
            if not self._ordered and got == 0:
                check.report(unit, f"{noun} {want}" if want else "silence", f"{noun} of value 0", at)
            elif got != want:
                check.report(
                    unit, f"{noun} {want}" if self._ordered or want else "silence", f"{noun} {got}", at
                )
        for unit in range(size):
            if unit not in seen and (self._ordered or expected[unit]):
                check.report(unit, f"{noun} {int(expected[unit])}", "nothing", closed_at)

    def finish(self) -> None:
        """Report what is missing, or too much, at the end of a run."""
        if self.check.broken:
            return
        kinds, _, _, cycles = self._rest
        if self._table is None:
            if len(kinds):
                self.check.breach("nothing after the last sequence", "EVENT", int(cycles[0]))
            return
        if self._ticks and self.check.step < len(self._table):
            expected = f"TICK number {self.check.step + 1} of {len(self._table)}"
        else:
            expected = "END"
        got = f"{len(kinds)} events and no more" if len(kinds) else "nothing more"
        self.check.breach(expected, got, None)


class Scoreboard:
    """Compares the taps of all layers and the logits with the golden traces of the sequences.

    Parameters
    ----------
    traces
        The golden model's answer to each sequence, in the order in which they are played. It is gone through
        once per stream, so it must be a container, not a generator.
    layers
        Number of layers.
    every
        Whether the readout answers in every step.
    """

    def __init__(self, traces: Iterable[GoldenTrace], *, layers: int, every: bool) -> None:
        self._comparators: dict[str, StreamComparator] = {}
        for layer in range(layers):
            expected = _events_of(traces, layer)
            self._comparators[f"tap{layer}"] = StreamComparator(layer, expected, ordered=False, ticks=True)
        logits = (np.atleast_2d(np.asarray(trace.logits, np.int64)) for trace in traces)
        self._comparators[LOGITS] = StreamComparator("readout", logits, ordered=True, ticks=every)

    @property
    def streams(self) -> Mapping[str, StreamCheck]:
        """Where each stream stands, by name of the port."""
        return {name: comparator.check for name, comparator in self._comparators.items()}

    def feed(
        self, stream: str, kind: np.ndarray, index: np.ndarray, value: np.ndarray, cycle: np.ndarray
    ) -> None:
        """Take further tokens of a stream, ``tapK`` or ``logits``, in the order in which they came."""
        self._comparators[stream].feed(kind, index, value, cycle)

    def finish(self) -> None:
        """Say that no token will follow. What is missing becomes a mismatch, as does an empty comparison."""
        for comparator in self._comparators.values():
            comparator.finish()
            check = comparator.check
            if not check.compared and not check.mismatched:
                check.report(None, "at least one comparison", "none: nothing was compared", None)

    @property
    def compared(self) -> int:
        """How many values were compared, over all streams."""
        return sum(check.compared for check in self.streams.values())

    @property
    def mismatches(self) -> int:
        """How many disagreements were found, over all streams."""
        return sum(check.mismatched for check in self.streams.values())

    @property
    def first(self) -> Mismatch | None:
        """The mismatch nearest to its cause: by sequence and step, and there by the order of the layers."""
        found = [mismatch for check in self.streams.values() for mismatch in check.mismatches]
        last = len(self._comparators)

        def place(mismatch: Mismatch) -> tuple[int, float, float]:
            step = float("inf") if mismatch.step is None else mismatch.step
            layer = mismatch.layer if isinstance(mismatch.layer, int) else last
            return (mismatch.sequence, step, layer)

        return min(found, key=place, default=None)


def _events_of(traces: Iterable[GoldenTrace], layer: int) -> Iterator[np.ndarray]:
    for trace in traces:
        yield np.asarray(trace.events[layer], np.int64)
