"""Compares what an accelerator sent with what the golden model says, token by token.

Events of a step may come in any order, so a step is compared as a set: unit -> payload. Everything else
is compared as it comes: each step closes with TICK, a sequence closes with END directly after its last TICK,
logits come in the order of the classes.

No simulator is needed here: tokens come in as arrays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np

from egret_sim.tokens import END, EVENT, KIND_NAMES, PASS, TICK
from egret_sim.turns import Turn

#: Name of the stream of logits; the streams of the layers are tap0, tap1, ...
LOGITS = "logits"
#: Mismatches beyond this many per stream are counted, but not kept.
KEPT_MISMATCHES = 20
#: Groups that are compared as one array.
GROUPS_AT_ONCE = 256


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

    ``turn`` is the place in the order of all steps, None behind the last of them. ``sequence`` is None there,
    and where a turn was to be passed.
    ``step`` is None for logits that come once, at the end of a sequence. ``unit`` is None where the
    disagreement is about the protocol, not about a value. ``cycle`` is the cycle in which the token came that
    showed it, for finding the place in a waveform.
    """

    turn: int | None
    sequence: int | None
    layer: int | str
    step: int | None
    unit: int | None
    expected: str
    got: str
    cycle: int | None = None

    def __str__(self) -> str:
        if self.sequence is None:
            place = f"layer {self.layer}, "
            place += "behind the last sequence" if self.turn is None else f"turn {self.turn}"
        else:
            place = f"sequence {self.sequence}, layer {self.layer}, "
            place += "after the last step" if self.step is None else f"step {self.step}"
        if self.unit is not None:
            place += f", {'class' if self.layer == 'readout' else 'unit'} {self.unit}"
        at = "" if self.cycle is None else f" (cycle {self.cycle})"
        return f"{place}: expected {self.expected}, got {self.got}{at}"


@dataclass(frozen=True)
class Group:
    """What comes up to a token that is no EVENT, and that token: a step and its TICK, or a border.

    ``expected`` holds the values; None where no event may come. ``stepless`` are logits that come once.
    """

    turn: Turn
    expected: np.ndarray | None
    stepless: bool = False


@dataclass
class StreamCheck:
    """Where the comparison of one stream stands.

    ``compared`` counts values compared with the golden model: one per unit and step (silence is a value,
    too), or one per logit. ``broken`` is set by a breach of the protocol, after which the stream is not read
    on. ``done`` is set when all that was expected has come.
    """

    layer: int | str
    compared: int = 0
    mismatched: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    broken: bool = False
    done: bool = False

    def report(
        self, group: Group | None, unit: int | None, expected: str, got: str, cycle: int | None
    ) -> None:
        """Note a mismatch."""
        self.mismatched += 1
        if len(self.mismatches) < KEPT_MISMATCHES:
            turn = group.turn if group else None
            of_sequence = turn is not None and turn.kind != PASS
            mismatch = Mismatch(
                turn=turn.number if turn else None,
                sequence=turn.sequence if turn and of_sequence else None,
                layer=self.layer,
                step=turn.step if group and turn and of_sequence and not group.stepless else None,
                unit=unit,
                expected=expected,
                got=got,
                cycle=cycle,
            )
            self.mismatches.append(mismatch)

    def breach(self, group: Group | None, expected: str, got: str, cycle: int | None) -> None:
        """Note a breach of the protocol: nothing that follows can be told apart."""
        self.report(group, None, expected, got, cycle)
        self.broken = True


class StreamComparator:
    """Compares one stream. Tokens are fed in pieces of any size; a group is compared once it is closed."""

    def __init__(self, layer: int | str, groups: Iterator[Group], *, ordered: bool) -> None:
        """Prepare to compare with ``groups``, in their order.

        ``ordered``: every index must come, in ascending order, and 0 is a value like any other (logits).
        Otherwise only the non-zero ones come, in any order (events).
        """
        self.check = StreamCheck(layer)
        self._groups = groups
        self._ordered = ordered
        self._rest = [np.zeros(0, np.int64) for _ in range(4)]
        self._upcoming: deque[Group] = deque()
        self._advance()

    def _advance(self) -> None:
        self._group = self._upcoming.popleft() if self._upcoming else next(self._groups, None)
        self.check.done = self._group is None

    def feed(self, kind: np.ndarray, index: np.ndarray, value: np.ndarray, cycle: np.ndarray) -> None:
        """Take further tokens."""
        arrays = [np.concatenate(pair) for pair in zip(self._rest, (kind, index, value, cycle), strict=True)]
        kind, index, value, cycle = arrays
        start = 0
        closes = np.nonzero(kind != EVENT)[0]
        for first in range(0, len(closes), GROUPS_AT_ONCE):
            some = closes[first : first + GROUPS_AT_ONCE]
            whole = slice(start, int(some[-1]) + 1)
            if self._agree(kind[whole], index[whole], value[whole], some - start):
                start = whole.stop
                continue
            for close in some.tolist():
                if self.check.broken:
                    break
                piece = slice(start, close)
                self._close(int(kind[close]), index[piece], value[piece], cycle[piece], int(cycle[close]))
                start = close + 1
        self._rest = [array[start:] for array in arrays]

    def _agree(self, kind: np.ndarray, index: np.ndarray, value: np.ndarray, closes: np.ndarray) -> bool:
        """Take groups that end at ``closes`` if all of them are right; else take none.

        This says no more than "all right", but of many groups at once, in a fraction of the time.
        """
        if self.check.broken or self._group is None:
            return False
        self._upcoming.extend(islice(self._groups, max(0, len(closes) - 1 - len(self._upcoming))))
        groups = [self._group, *islice(self._upcoming, len(closes) - 1)]
        if len(groups) < len(closes) or (kind[closes] != [group.turn.kind for group in groups]).any():
            return False
        counts = np.diff(closes, prepend=-1) - 1
        valued = np.array([group.expected is not None for group in groups])
        if counts[~valued].any():
            return False
        if valued.any():
            expected = np.stack([group.expected for group in groups if group.expected is not None])
            events = kind == EVENT
            if not self._equal(expected, counts[valued], index[events], value[events]):
                return False
            self.check.compared += expected.size
        for _ in groups:
            self._advance()
        return True

    def _equal(self, expected: np.ndarray, counts: np.ndarray, index: np.ndarray, value: np.ndarray) -> bool:
        """Whether events, ``counts`` of them in each row of ``expected``, say what is expected."""
        rows, size = expected.shape
        row = np.repeat(np.arange(rows), counts)
        if (index >= size).any():
            return False
        if self._ordered:
            if (counts != size).any() or (index != np.tile(np.arange(size), rows)).any():
                return False
        elif (value == 0).any() or (np.bincount(row * size + index, minlength=1) > 1).any():
            return False
        got = np.zeros(expected.shape, np.int64)
        got[row, index] = value
        return bool((got == expected).all())

    def _close(
        self, kind: int, index: np.ndarray, value: np.ndarray, cycle: np.ndarray, closed_at: int
    ) -> None:
        """Handle the events before a token that is no EVENT, and that token."""
        check, group = self.check, self._group
        name = KIND_NAMES.get(kind, f"a token of kind {kind}")
        if group is None:
            check.breach(None, "nothing after the last sequence", name, closed_at)
            return
        if group.expected is None and len(index):
            check.breach(group, str(group.turn), "EVENT", int(cycle[0]))
            return
        if group.expected is not None:
            # What comes before a wrong token is compared all the same: it may say more.
            self._compare(group, group.expected, index, value, cycle, closed_at)
        if kind != group.turn.kind:
            check.breach(group, str(group.turn), name, closed_at)
            return
        self._advance()

    def _compare(
        self,
        group: Group,
        expected: np.ndarray,
        index: np.ndarray,
        value: np.ndarray,
        cycle: np.ndarray,
        closed_at: int,
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
            self._explain(group, expected, index, value, cycle, closed_at)
        self.check.compared += size

    def _explain(
        self,
        group: Group,
        expected: np.ndarray,
        index: np.ndarray,
        value: np.ndarray,
        cycle: np.ndarray,
        closed_at: int,
    ) -> None:
        """Report each mismatch of a group that was found to hold one."""
        check, size = self.check, len(expected)
        noun = "logit" if self._ordered else "event"
        seen: set[int] = set()
        for position, (unit, got, at) in enumerate(
            zip(index.tolist(), value.tolist(), cycle.tolist(), strict=True)
        ):
            if unit >= size:
                check.report(group, unit, f"an index below {size}", f"{noun} {got}", at)
                continue
            if unit in seen:
                check.report(group, unit, f"one {noun} in a step", f"another one, {got}", at)
                continue
            seen.add(unit)
            want = int(expected[unit])
            if self._ordered and position < size and unit != position:
                check.report(group, unit, f"class {position} next", f"class {unit}", at)
            if not self._ordered and got == 0:
                check.report(group, unit, f"{noun} {want}" if want else "silence", f"{noun} of value 0", at)
            elif got != want:
                check.report(
                    group, unit, f"{noun} {want}" if self._ordered or want else "silence", f"{noun} {got}", at
                )
        for unit in range(size):
            if unit not in seen and (self._ordered or expected[unit]):
                check.report(group, unit, f"{noun} {int(expected[unit])}", "nothing", closed_at)

    def finish(self) -> None:
        """Report what is missing, or too much, at the end of a run."""
        if self.check.broken:
            return
        kinds, _, _, cycles = self._rest
        if self._group is not None:
            got = f"{len(kinds)} events and no more" if len(kinds) else "nothing more"
            self.check.breach(self._group, str(self._group.turn), got, None)
        elif len(kinds):
            self.check.breach(None, "nothing after the last sequence", "EVENT", int(cycles[0]))


class Scoreboard:
    """Compares the taps of all layers and the logits with the golden traces of the sequences.

    Parameters
    ----------
    traces
        The golden model's answer to each sequence. They are gone through once per stream.
    turns
        The order in which their steps travel.
    layers
        Number of layers.
    every
        Whether the readout answers in every step.
    """

    def __init__(
        self, traces: Sequence[GoldenTrace], turns: Sequence[Turn], *, layers: int, every: bool
    ) -> None:
        self._comparators = {
            f"tap{layer}": StreamComparator(layer, event_groups(traces, turns, layer), ordered=False)
            for layer in range(layers)
        }
        groups = logit_groups(traces, turns, every=every)
        self._comparators[LOGITS] = StreamComparator("readout", groups, ordered=True)

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
                check.report(None, None, "at least one comparison", "none: nothing was compared", None)

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
        """The mismatch nearest to its cause: by the order of steps, and there by the order of the layers."""
        found = [mismatch for check in self.streams.values() for mismatch in check.mismatches]

        def place(mismatch: Mismatch) -> tuple[float, float]:
            turn = float("inf") if mismatch.turn is None else mismatch.turn
            return (turn, mismatch.layer if isinstance(mismatch.layer, int) else float("inf"))

        return min(found, key=place, default=None)


def event_groups(traces: Sequence[GoldenTrace], turns: Iterable[Turn], layer: int) -> Iterator[Group]:
    """What a layer is to send, turn by turn."""
    for turn in turns:
        events = traces[turn.sequence].events[layer][turn.step] if turn.kind == TICK else None
        yield Group(turn, events)


def logit_groups(traces: Sequence[GoldenTrace], turns: Iterable[Turn], *, every: bool) -> Iterator[Group]:
    """What the readout is to send: logits in every step, or once at each END. It never passes."""
    for turn in turns:
        if turn.kind == TICK and every:
            yield Group(turn, traces[turn.sequence].logits[turn.step])
        elif turn.kind == END:
            yield Group(turn, None if every else traces[turn.sequence].logits, stepless=not every)
