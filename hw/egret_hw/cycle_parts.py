"""The parts of the cycle model: what is left of a component when only time counts.

A register is a cycle, a handshake the later of two cycles, a pipeline the latency that its component exports.
A token moves in a cycle if it is offered and taken in that cycle; what it changes shows in the next one.

Nothing loops over cycles. Each part is told when something comes and says when it leaves, one item after the other, so
a time may depend only on what is already known. To see to that, tokens are pulled: a tile
asks for an input token when it has taken the one before it, and by then all that could hold it up is settled.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from amaranth.hdl import UnusedElaboratable

from .accumulator import SUM_LATENCY
from .event_encoder import JOBS_DEPTH
from .fifo import _NEAR_DEPTH
from .geometry import LayerGeometry, RowGeometry
from .mac_array import PRODUCT_LATENCY
from .memory import READ_LATENCY
from .multiplier import MULTIPLY_LATENCY
from .neuron_update import NeuronUpdate
from .stream import Kind
from .sum_gather import GATHER_LATENCY, SumGather

EVENT, TICK, END, PASS = (kind.value for kind in (Kind.EVENT, Kind.TICK, Kind.END, Kind.PASS))

#: Cycles from a border behind the weight fetch until the sums of its step may be read.
CLOSE_LATENCY = PRODUCT_LATENCY + SUM_LATENCY - 1
#: Cycles from the read of a class's sum to its logit at the output: the logit's register, and two of a buffered queue.
LOGIT_LATENCY = READ_LATENCY + MULTIPLY_LATENCY + 1 + 2

_NEVER = 1 << 62
_LONG_AGO = -_NEVER

Tokens = Generator[tuple[int, int], int | None, None]
"""Tokens on their way: (kind, cycle from which it is offered). The cycle in which it was taken is sent back."""


class Queue:
    """A `PassingFifo`.

    Attributes
    ----------
    taken : cycle in which the item before the next one was taken from the output; the reader keeps it
    """

    def __init__(self, depth: int):
        self.taken = _LONG_AGO
        self._depth = depth
        self._deep = depth > _NEAR_DEPTH
        self._entered = _LONG_AGO  # the last item's way in
        self._shown = [_LONG_AGO] * depth  # cycles from which items are at the output, in order
        # Of a deep queue: when items came to the near memory, in order; when the last ones left the far one.
        self._near = [_LONG_AGO] * depth
        self._far_left = [_LONG_AGO] * max(1, depth - _NEAR_DEPTH // 2)
        self._far_through = _LONG_AGO  # the last of those came to the near memory

    def enter(self, offered: int) -> tuple[int, int]:
        """Cycle in which an item is accepted that is offered from `offered` on, and from which it is at the output."""
        shown = self._shown
        entered = max(offered, self._entered + 1)
        if not self._deep:
            entered = near = max(entered, shown[-self._depth])
        else:
            entered = max(entered, self._far_left[0] + 1)
            near = entered
            if near <= self._far_through or self._crowded(near):
                near = self._through_far(entered)
            self._near.append(near)
        self._entered = entered
        out = max(near, self.taken) + 1
        shown.append(out)
        if len(shown) > 4 * self._depth + 64:
            del shown[: -2 * self._depth - 2], self._near[: -2 * self._depth - 2]
        return entered, out

    def _crowded(self, cycle: int) -> bool:
        """Whether the near memory has no room for what may be on its way out of the far one."""
        most = _NEAR_DEPTH // 2
        if self._shown[-most] <= cycle:
            return False
        return bisect_left(self._near, cycle) - bisect_right(self._shown, cycle) >= most

    def _through_far(self, entered: int) -> int:
        """Cycle in which an item comes to the near memory that has entered the far one."""
        cycle = max(entered, self._far_left[-1]) + 1
        while self._crowded(cycle):
            cycle = self._shown[bisect_right(self._shown, cycle)]
        self._far_left.append(cycle)
        del self._far_left[0]
        self._far_through = cycle + READ_LATENCY
        return self._far_through


class Lanes:
    """A scheduler's output register, the weight fetch behind it and the lanes.

    Attributes
    ----------
    free : cycle from which the output register takes the next request
    busy : cycles in which the lanes got a word so far
    """

    def __init__(self, words: int):
        self.words = words
        self.free = 0
        self.busy = 0
        self._moved = _LONG_AGO  # the last request got its turn in the fetch
        self._ended = _LONG_AGO  # its last cycle there
        self._last_word = _LONG_AGO

    def border(self, asked: int) -> int:
        """Cycle in which a border goes out of the fetch that is asked for in cycle `asked`, with or without a row."""
        return self._move(asked)[1] + 1

    def ask(self, asked: int, *, row: bool) -> None:
        """Note a request, made in cycle `asked`, for a row or for a border alone."""
        accepted, moved = self._move(asked)
        self.free = accepted
        self._moved = moved
        self._ended = moved + (self.words if row else 1)
        if row:
            self.busy += self.words
            self._last_word = self._ended

    def at_rest(self, cycle: int) -> bool:
        """Whether nothing is under way, so that sums are complete."""
        return cycle > max(self._ended, self._last_word + CLOSE_LATENCY)

    def _move(self, asked: int) -> tuple[int, int]:
        """Cycles in which a request is accepted by the fetch, and gets its turn there."""
        # With one word a row, the place of the next request is filled in the cycle in which it empties.
        accepted = max(asked + 1, self._moved + (self.words > 1))
        return accepted, max(accepted + 1, self._ended)


@dataclass(frozen=True)
class UpdateTiming:
    """When a step's results come, counted from the first read of its sums.

    Attributes
    ----------
    groups : groups of units
    interval : cycles from one group to the next
    first : cycles to the first group's result
    read : cycles until the sums may be written again
    """

    groups: int
    interval: int
    first: int
    read: int

    @classmethod
    def of(cls, geometry: LayerGeometry, update_lanes: int) -> UpdateTiming:
        with warnings.catch_warnings():
            # The component is only looked at, not built.
            warnings.simplefilter("ignore", UnusedElaboratable)
            gather = SumGather(geometry=geometry, units=update_lanes, sum_bits=1, streams=1)
            groups, reads, overlapped = gather.groups, gather.reads, gather.overlapped
            del gather
        ahead = 0 if overlapped else reads - 2
        read = groups if overlapped else groups * reads - 1
        return cls(groups, reads, ahead + GATHER_LATENCY + NeuronUpdate.LATENCY, read)


class TileModel:
    """A tile, as a source of tokens for what comes behind it.

    Parameters
    ----------
    units, lanes, update_lanes, queue_depth, streams : of the tile
    source : tokens that arrive
    fired : for each step in the order in which they come, the units that fire in it, ascending

    Attributes
    ----------
    lanes : with the cycles in which they were busy
    input_events, recurrent_events : rows fetched so far
    waited_update : steps that closed later because the update before them was not yet done
    """

    def __init__(
        self,
        *,
        units: int,
        lanes: int,
        update_lanes: int,
        queue_depth: int,
        streams: int,
        source: Tokens,
        fired: Iterator[Sequence[int]],
    ):
        geometry = LayerGeometry.of(units=units, lanes=lanes)
        self.lanes = Lanes(geometry.words)
        self.input_events = self.recurrent_events = 0
        self._update_lanes = update_lanes
        self._streams = streams
        self._timing = UpdateTiming.of(geometry, update_lanes)
        self._fired = fired
        self._source = source
        self._accepted: int | None = None  # when the source's last token entered the queue
        self._queue = Queue(queue_depth)
        self._head: tuple[int, int] | None = None  # what waits at the queue's output: kind, cycle
        steps = min(2, streams)
        self._store = Queue(steps * self._timing.groups)
        self._jobs = Queue(JOBS_DEPTH)
        self._recurrent = Queue(streams * (units + 1))
        self._back: deque[tuple[int, int]] = deque()  # recurrent tokens on their way: kind, cycle of entry

        # Scheduler. Times are the first cycles in which something is so.
        self._turn = 0
        self._turn_from = 0
        self._border_at = _NEVER  # a border waits, and gets the request of this cycle
        self._border_gone = 0
        self._sums_from = 0  # the bank of the step closed last may be filled again
        self._done_from = deque([0] * steps)  # steps of the update are done
        self._dropping = [_NEVER] * streams  # recurrent events of each stream are dropped

    def tokens(self) -> Tokens:
        """What the tile sends."""
        sent = 0  # when the token before was taken
        while (job := self._next_job()) is not None:
            kind, told, start = job
            if kind == TICK:
                timing, width = self._timing, self._update_lanes
                units = next(self._fired)
                groups = [unit // width for unit in units]
                last = timing.groups - 1
                group, shown = -1, 0
                result = start + timing.first
                for number in groups:
                    if number != group:
                        if group >= 0:
                            self._store.taken = out
                        group = number
                        shown = max(told, self._store.enter(result + number * timing.interval)[1])
                    out = max(shown, sent)
                    self._back.append((EVENT, out + 1))
                    sent = yield EVENT, out + 1
                if group != last:
                    if group >= 0:
                        self._store.taken = out
                    shown = max(told, self._store.enter(result + last * timing.interval)[1])
                out = max(shown, sent)
                self._store.taken = out
                self._done_from.append(out + 2)
            else:
                out = max(told, sent)
            self._jobs.taken = out
            if kind != END:
                self._back.append((TICK, out + 1))
            sent = yield kind, out + 1

    def _next_job(self) -> tuple[int, int, int] | None:
        """Go on until the scheduler tells the encoder something.

        Returns what, the cycle from which the encoder knows, and of a step the cycle in which the first read of its sums is asked for; None at the end.
        """
        lanes = self.lanes
        arriving = self._recurrent_head()
        while True:
            if self._head is None and not self._pull():
                return None
            kind, at = self._head
            earliest = max(lanes.free, self._turn_from)
            # A recurrent event goes first. If the streams's sequence has ended, it goes nowhere.
            row_at = _NEVER
            if arriving is not None:
                back = max(arriving, earliest)
                if kind == EVENT:
                    ...
