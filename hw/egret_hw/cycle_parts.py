# amaranth: UnusedElaboratable=no
"""The parts of the cycle model: what is left of a component when only time counts.

A register is a cycle, a handshake the later of two cycles, a pipeline the latency that its component exports.
A token moves in a cycle if it is offered and taken in that cycle; what it changes shows in the next one.

Nothing loops over cycles. Each part is told when something comes and says when it leaves, one item after the other, so
a time may depend only on what is already known. To see to that, tokens are pulled: a tile
asks for an input token when it has taken the one before it, and by then all that could hold it up is settled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

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
        # The component is only looked at, not built; Amaranth is told so in this file's first line.
        gather = SumGather(geometry=geometry, units=update_lanes, sum_bits=1, streams=1)
        groups, reads = gather.groups, gather.reads
        ahead = 0 if gather.overlapped else reads - 2
        read = groups if gather.overlapped else groups * reads - 1
        return cls(groups, reads, ahead + GATHER_LATENCY + NeuronUpdate.LATENCY, read)


class _Source:
    """The queue in front of a tile: pulls tokens and says from when each waits at the output."""

    def __init__(self, tokens: Tokens, depth: int):
        self._tokens = tokens
        self._queue = Queue(depth)
        self._entered: int | None = None
        self._head: tuple[int, int] | None = None

    def head(self) -> tuple[int, int] | None:
        """Kind of the token at the output and the cycle from which it is there; None if no more come."""
        if self._head is None:
            try:
                kind, offered = self._tokens.send(self._entered)
            except StopIteration:
                return None
            self._entered, shown = self._queue.enter(offered)
            self._head = kind, shown
        return self._head

    def take(self, cycle: int) -> None:
        """Note that the token was taken."""
        self._queue.taken = cycle
        self._head = None


class TileModel:
    """A tile: scheduler, lanes, update and encoder.

    Parameters
    ----------
    units, lanes, update_lanes, queue_depth, streams : of the tile
    source : tokens that arrive
    fired : for each step in the order of their TICKs, the units that fire in it, ascending

    Attributes
    ----------
    lanes : with the cycles in which they were busy
    input_events, recurrent_events : rows fetched
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
        fired: Iterable[Sequence[int]],
    ):
        geometry = LayerGeometry.of(units=units, lanes=lanes)
        self.lanes = Lanes(geometry.words)
        self.input_events = self.recurrent_events = 0
        self._width = update_lanes
        self._streams = streams
        self._timing = timing = UpdateTiming.of(geometry, update_lanes)
        self._fired = iter(fired)
        self._source = _Source(source, queue_depth)
        steps = min(2, streams)
        self._store = Queue(steps * timing.groups)
        self._jobs = Queue(JOBS_DEPTH)
        self._recurrent = Queue(streams * (units + 1))
        self._sent_back: deque[tuple[int, int]] = deque()  # recurrent tokens: kind, cycle of their way in

        # The scheduler's state. What ends in `_from` is the first cycle in which something is so.
        self._turn = 0
        self._turn_from = 0
        self._complete_from: int | None = 0  # this turn's recurrent events have all come
        self._back: tuple[int, int] | None = None  # head of the recurrent queue: kind, cycle
        self._border_at: int | None = None  # a border waits for this cycle, in which it becomes a request
        self._border_gone_from = 0
        self._read_from = 0  # the sums of the step closed last have been read
        self._done_from = deque([0] * steps)  # for each step that may be in the update: it is done
        self._dropping_from = [_NEVER] * streams  # recurrent events of an ended sequence are dropped

    def tokens(self) -> Tokens:
        """What the tile sends."""
        timing, store, back = self._timing, self._store, self._sent_back
        sent = 0  # the token before was taken
        while (job := self._until_job()) is not None:
            kind, told, start = job
            ready = told  # from when the encoder may send, but for the token before
            if kind == TICK:
                result = start + timing.first
                group, last = None, timing.groups - 1
                for unit in next(self._fired):
                    if unit // self._width != group:
                        group = unit // self._width
                        ready = max(told, store.enter(result + group * timing.interval)[1])
                    loaded = store.taken = max(ready, sent)
                    back.append((EVENT, loaded + 1))
                    sent = yield EVENT, loaded + 1
                if group != last:
                    ready = max(told, store.enter(result + last * timing.interval)[1])
            loaded = self._jobs.taken = max(ready, sent)
            if kind == TICK:
                store.taken = loaded
                self._done_from.append(loaded + 2)
            if kind != END:
                back.append((TICK, loaded + 1))
            sent = yield kind, loaded + 1

    def _until_job(self) -> tuple[int, int, int] | None:
        """Let the scheduler work until it tells the encoder something, or nothing comes any more.

        Returns
        -------
        What it tells, the cycle from which the encoder knows, and (of TICK) that of the first read of the
        step's sums.
        """
        source, lanes, ended = self._source, self.lanes, None
        while (head := source.head()) is not None:
            kind, at = head
            ready = max(lanes.free, self._turn_from)
            back_at = self._recurrent_at(ready)
            if kind == EVENT:
                at = max(at, ready)
            elif kind == END:
                ended = ended or self._jobs.enter(at)
                at = ended[0]
            elif back_at is None:
                return self._close(kind, at)
            if back_at is not None and (back_at <= at or kind in (TICK, PASS)):
                if self._row(back_at):
                    self.recurrent_events += 1
                    self._recurrent.taken = back_at
                    self._back = None
            elif kind == EVENT:
                if self._row(at):
                    self.input_events += 1
                    source.take(at)
            else:
                source.take(at)
                self._dropping_from[(self._turn - 1) % self._streams] = at + 1
                return END, ended[1], 0
        return None

    def _recurrent_at(self, ready: int) -> int | None:
        """Cycle in which the next recurrent event becomes a request if none is made before; None if the turn has no more."""
        dropping_from = self._dropping_from[self._turn % self._streams]
        while self._complete_from is None:
            if self._back is None:
                kind, entered = self._sent_back.popleft()
                self._back = kind, self._recurrent.enter(entered)[1]
            kind, shown = self._back
            if kind == EVENT and max(shown, ready) < dropping_from:
                return max(shown, ready)
            # A tick, or an event of a sequence that has ended: the lanes do not get it.
            taken = max(shown, self._turn_from)
            if kind == TICK:
                self._complete_from = taken
            else:
                taken = max(taken, dropping_from)
            self._recurrent.taken = taken
            self._back = None
        return None

    def _row(self, cycle: int) -> bool:
        """Ask for a row in this cycle. If a border goes before it, that is done instead, and the answer is False."""
        if self._border_at is not None and self._border_at < cycle:
            self._lone_border()
            return False
        if self._border_at is not None:  # it rides on this row
            self._border_at, self._border_gone_from = None, cycle + 1
        self.lanes.ask(cycle, row=True)
        return True

    def _lone_border(self) -> None:
        if self._border_at is not None:
            self.lanes.ask(self._border_at, row=False)
            self._border_at, self._border_gone_from = None, self._border_at + 1

    def _close(self, kind: int, at: int) -> tuple[int, int, int]:
        """End the turn with TICK or PASS, which waits at the queue's output from `at` on."""
        self._lone_border()
        closed = max(at, self._turn_from, self._complete_from, self._border_gone_from)
        start = 0
        if kind == TICK:
            closed = max(closed, self._read_from, self._done_from.popleft())
        closed, told = self._jobs.enter(closed)
        if kind == TICK:
            if self.lanes.at_rest(closed):
                start = closed + 1
            else:
                self._border_at = max(closed + 1, self.lanes.free)
                start = self.lanes.border(self._border_at) + CLOSE_LATENCY
            self._read_from = start + self._timing.read + 1
        self._source.take(closed)
        self._dropping_from[self._turn % self._streams] = _NEVER
        self._turn += 1
        self._turn_from = closed + 1
        self._complete_from = 0 if self._turn < self._streams else None
        return kind, told, start


class ReadoutModel:
    """A readout: scheduler, lanes and the scan of its classes.

    Parameters
    ----------
    classes, mode, lanes, queue_depth : of the readout
    source : tokens that arrive

    Attributes
    ----------
    lanes : with the cycles in which they were busy
    """

    def __init__(self, *, classes: int, mode: str, lanes: int, queue_depth: int, source: Tokens):
        self.lanes = Lanes(RowGeometry(positions=classes, lanes=lanes).words)
        self._classes = classes
        self._every = mode == "every"
        self._source = _Source(source, queue_depth)

    def ends(self) -> Iterator[int]:
        """Cycles in which the END of each sequence leaves."""
        source, lanes = self._source, self.lanes
        sent_from = 0  # what was due before is sent
        while (head := source.head()) is not None:
            kind, at = head
            if kind == EVENT:
                at = max(at, lanes.free)
                lanes.ask(at, row=True)
            elif kind == END or (kind == TICK and self._every):
                at = max(at, lanes.free, sent_from)
                read = lanes.border(at) + CLOSE_LATENCY + 1
                lanes.ask(at, row=False)
                if kind == END:
                    closing = read if self._every else read + self._classes + LOGIT_LATENCY
                    yield closing
                else:
                    closing = read + self._classes + LOGIT_LATENCY
                sent_from = closing + 1
            source.take(at)
