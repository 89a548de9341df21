# amaranth: UnusedElaboratable=no
"""The parts of the cycle model: what is left of a component when only time counts.

A register is a cycle, a handshake the later of two cycles, a pipeline the latency that its component exports.
A token moves in a cycle if it is offered and taken in that cycle; what it changes shows in the next one.

Nothing loops over cycles. Each part is told when something comes and says when it leaves, one item after
the other, so a time may depend only on what is already known. To see to that, tokens are pulled: a tile
asks for an input token when it has taken the one before it, and by then all that could hold it up is settled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from .event_encoder import JOBS_DEPTH
from .fifo import _NEAR_DEPTH
from .geometry import LayerGeometry, RowGeometry
from .logit_scan import ASK_LATENCY
from .mac_array import close_latency
from .memory import READ_LATENCY
from .multiplier import MULTIPLY_LATENCY
from .neuron_update import NeuronUpdate
from .reset_gate import ResetGate
from .stream import Kind
from .sum_gather import GATHER_LATENCY, START_LATENCY, SumGather

EVENT, TICK, END, PASS = (kind.value for kind in (Kind.EVENT, Kind.TICK, Kind.END, Kind.PASS))

#: Cycles from a border behind the weight fetch until its step counts as closed.
CLOSE_LATENCY = close_latency(START_LATENCY)
READOUT_CLOSE_LATENCY = close_latency(ASK_LATENCY)
#: Cycles from a class's turn to its logit at the output, through a register and a queue.
LOGIT_LATENCY = READ_LATENCY + MULTIPLY_LATENCY + 1 + 1

_NEVER = 1 << 62
_LONG_AGO = -_NEVER

Tokens = Generator[tuple[int, int], int, None]
"""Tokens on their way: (kind, cycle from which it is offered); sent back: the cycle in which it was taken."""


class Queue:
    """A `PassingFifo`.

    Attributes
    ----------
    taken : cycle in which the last item shown was taken from the output; the reader keeps it
    """

    def __init__(self, depth: int):
        self.taken = _LONG_AGO
        self._depth = depth
        self._deep = depth > _NEAR_DEPTH
        self._entered = _LONG_AGO  # the last item's way in
        self._waiting: deque[int] = deque()  # of items not shown yet: their way in
        self._shown = [_LONG_AGO] * depth  # cycles from which items were at the output, in order
        # Of a deep queue: when items came to the near memory, in order; when the last ones left the far one,
        # and when the very last one came to the near memory.
        self._near = [_LONG_AGO] * depth
        self._far_left = deque(
            [_LONG_AGO] * max(1, depth - _NEAR_DEPTH // 2), maxlen=max(1, depth - _NEAR_DEPTH // 2)
        )
        self._far_through = _LONG_AGO

    @property
    def undecided(self) -> bool:
        """Whether the next item's way in depends on items that are not shown yet."""
        return len(self._waiting) >= (1 if self._deep else self._depth)

    def enter(self, offered: int) -> int:
        """Cycle in which an item is accepted that is offered from that cycle on."""
        entered = max(offered, self._entered + 1)
        if self._deep:
            entered = max(entered, self._far_left[0] + 1)
        else:
            entered = max(entered, self._shown[len(self._waiting) - self._depth])
        self._entered = entered
        self._waiting.append(entered)
        return entered

    def show(self) -> int:
        """First cycle in which the next item is at the output."""
        shown = self._shown
        near = self._waiting.popleft()
        if self._deep:
            if near <= self._far_through or self._crowded(near):
                near = self._through_far(near)
            self._near.append(near)
        out = max(near, self.taken) + 1
        shown.append(out)
        if len(shown) > 4 * self._depth + 64:  # what is long past is not asked for any more
            del shown[: -2 * self._depth], self._near[: -2 * self._depth]
        return out

    def _crowded(self, cycle: int) -> bool:
        """Whether the near memory lacks room for what may be on its way out of the far one."""
        most = _NEAR_DEPTH // 2
        if self._shown[-most - 1] <= cycle:
            return False
        return bisect_left(self._near, cycle) - bisect_right(self._shown, cycle) > most

    def _through_far(self, entered: int) -> int:
        """Cycle in which an item comes to the near memory that goes through the far one."""
        cycle = max(entered, self._far_left[-1]) + 1
        while self._crowded(cycle):
            cycle = self._shown[bisect_right(self._shown, cycle)]
        self._far_left.append(cycle)
        self._far_through = cycle + READ_LATENCY
        return self._far_through


class Lanes:
    """A scheduler's output register, the weight fetch behind it and the lanes.

    Attributes
    ----------
    free : cycle from which the output register takes the next request
    empty_from : cycle from which it holds none
    busy : cycles in which the lanes got a word so far
    """

    def __init__(self, words: int):
        self.words = words
        self.free = self.empty_from = 0
        self.busy = 0
        self._moved = _LONG_AGO  # the last request got its turn in the fetch
        self._ended = _LONG_AGO  # its last cycle there
        self._last_word = _LONG_AGO

    def border(self, asked: int) -> int:
        """Cycle in which a border leaves the fetch that is asked for in cycle `asked`, row or not."""
        return self._move(asked)[1] + 1

    def ask(self, asked: int, *, row: bool) -> None:
        """Note a request, made in cycle `asked`, for a row or for a border alone."""
        accepted, moved = self._move(asked)
        self.free, self.empty_from = accepted, accepted + 1
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
    """When the sums of a closed step reach the update, counted from the cycle in which they are complete.

    Attributes
    ----------
    groups : groups of units
    interval : cycles from one group to the next
    sums : cycles to the first group's sums
    read : cycles until the sums may be written again
    """

    groups: int
    interval: int
    sums: int
    read: int

    @classmethod
    @cache
    def of(cls, geometry: LayerGeometry, update_lanes: int) -> UpdateTiming:
        """Timing of a layer whose update takes so many units at once."""
        # The component is only looked at, not built; Amaranth is told so in this file's first line.
        gather = SumGather(geometry=geometry, units=update_lanes, sum_bits=1, streams=1)
        groups, reads = gather.groups, gather.reads
        ahead = START_LATENCY + (0 if gather.pipelined else reads - 2)
        read = START_LATENCY + gather.done_read + 1
        return cls(groups, reads, ahead + GATHER_LATENCY, read)


class TokenInput:
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
                if self._entered is None:
                    kind, offered = next(self._tokens)
                else:
                    kind, offered = self._tokens.send(self._entered)
            except StopIteration:
                return None
            self._entered = self._queue.enter(offered)
            self._head = kind, self._queue.show()
        return self._head

    def take(self, cycle: int) -> None:
        """Note that the token was taken."""
        self._queue.taken = cycle
        self._head = None


class OwnEvents:
    """The queue of a tile's own tokens on their way back into it."""

    def __init__(self, depth: int):
        self._coming: deque[tuple[int, int]] = deque()
        self._queue = Queue(depth)
        self._head: tuple[int, int] | None = None

    def send(self, kind: int, entered: int) -> None:
        """Send a token that enters the queue in this cycle; there is room for all."""
        self._coming.append((kind, entered))

    def head(self) -> tuple[int, int] | None:
        """Kind of the token at the output and the cycle from which it is there; None if none was sent."""
        if self._head is None and self._coming:
            kind, entered = self._coming.popleft()
            self._queue.enter(entered)
            self._head = kind, self._queue.show()
        return self._head

    def take(self, cycle: int) -> None:
        """Note that the token was taken."""
        self._queue.taken = cycle
        self._head = None


class Encoder:
    """An `EventEncoder`: the groups of a step become events and a tick."""

    def __init__(self, *, update_lanes: int, timing: UpdateTiming, latency: int, steps: int):
        self._width = update_lanes
        self._timing = timing
        self._latency = timing.sums + latency
        self._store = Queue(steps * timing.groups)

    def step(self, units: Iterable[int], *, start: int, told: int, sent: int) -> Tokens:
        """Tokens of a step with the cycle in which each is loaded for the output.

        Parameters
        ----------
        units : that fire, ascending
        start : cycle in which the step's sums are complete
        told : cycle from which the encoder knows what to send
        sent : cycle in which the token before was taken
        """
        store, interval, width = self._store, self._timing.interval, self._width
        result = start + self._latency
        group, last = None, self._timing.groups - 1
        shown = 0
        for unit in units:
            if unit // width != group:
                group = unit // width
                store.enter(result + group * interval)
                shown = max(told, store.show())
            loaded = store.taken = max(shown, sent)
            sent = yield EVENT, loaded
        if group != last:
            store.enter(result + last * interval)
            shown = max(told, store.show())
        loaded = store.taken = max(shown, sent)
        yield TICK, loaded


class TileModel:
    """A tile: scheduler, lanes, update and encoder.

    Parameters
    ----------
    units, lanes, update_lanes, queue_depth, streams : of the tile
    source : tokens that arrive
    fired : for each step in the order of their TICKs, the units that fire in it, ascending
    gated : the same of the gated events, if the reset gate acts on events (reset="before"); None if not

    Attributes
    ----------
    lanes : with the cycles in which they were busy
    input_events, recurrent_events, gated_events : rows fetched
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
        gated: Iterable[Sequence[int]] | None = None,
    ):
        geometry = LayerGeometry.of(units=units, lanes=lanes)
        self.lanes = Lanes(geometry.words)
        self.input_events = self.recurrent_events = self.gated_events = 0
        self._streams = streams
        self._timing = timing = UpdateTiming.of(geometry, update_lanes)
        self._fired = iter(fired)
        self._input = TokenInput(source, queue_depth)
        steps = min(2, streams)
        self._encoder = Encoder(
            update_lanes=update_lanes, timing=timing, latency=NeuronUpdate.LATENCY, steps=steps
        )
        self._recurrent = OwnEvents(streams * (units + 1))
        self._jobs = Queue(JOBS_DEPTH)
        self._told: deque[tuple[int, int | None]] = deque()  # jobs under way: what, sums complete
        self._gated = None if gated is None else iter(gated)
        self._gate_encoder = Encoder(
            update_lanes=update_lanes, timing=timing, latency=ResetGate.LATENCY, steps=1
        )
        self._gated_events = OwnEvents(units + 1)

        # The scheduler's state. What ends in `_from` is the first cycle in which something is so.
        self._turn = 0
        self._turn_from = 0
        self._complete_from: int | None = 0  # this turn's recurrent events have all come
        self._ended: int | None = None  # END waits, and is taken in this cycle
        self._border_at: int | None = None  # a border waits, and becomes a request in this cycle
        self._border_gone_from = 0
        self._read_from = 0  # the sums of the step closed last have been read
        self._gating = False  # the step closed last will be closed again
        self._done_from = deque([0] * steps)  # of each step that may be in the update: it is done
        self._dropping_from = [_NEVER] * streams  # recurrent events of an ended sequence are dropped

    def tokens(self) -> Tokens:
        """What the tile sends."""
        sent = 0
        while True:
            while not self._told or self._told[0][1] is None:
                if not self._act():
                    return
            kind, start = self._told.popleft()
            told = self._jobs.show()
            if kind == TICK and start is not None:
                step = self._encoder.step(next(self._fired), start=start, told=told, sent=sent)
                token, loaded = next(step)
                while token == EVENT:
                    self._recurrent.send(EVENT, loaded + 1)
                    sent = yield EVENT, loaded + 1
                    token, loaded = step.send(sent)
                self._done_from.append(loaded + 2)  # the encoder's strobe, the scheduler's count
            else:
                loaded = max(told, sent)
            self._jobs.taken = loaded
            if kind != END:
                self._recurrent.send(TICK, loaded + 1)
            sent = yield kind, loaded + 1

    def _act(self) -> bool:
        """Let the scheduler do the next thing; False if there is nothing left to do."""
        kind, at = self._input.head() or (EVENT, _NEVER)
        ready = max(self.lanes.free, self._turn_from)
        back_at = self._recurrent_at(ready)
        input_at = max(at, ready) if kind == EVENT else _NEVER
        gated_at, reopen_at = self._gated_at() if self._gating else (_NEVER, _NEVER)
        row_at = min(gated_at, back_at, input_at)
        turn_at = self._turn_at(kind, at) if kind != EVENT else _NEVER

        first = min(row_at, reopen_at, turn_at)
        if self._border_at is not None and self._border_at < first:
            self.lanes.ask(self._border_at, row=False)
            self._border_at, self._border_gone_from = None, self._border_at + 1
        elif first == _NEVER:
            return False
        elif first == reopen_at:
            self._gated_events.take(reopen_at)
            at_rest = self.lanes.at_rest(reopen_at)
            if row_at == reopen_at:  # in the other bank
                self._row(row_at, gated=False, recurrent=row_at == back_at)
            self._gating = False
            self._told[0] = TICK, self._border(reopen_at, at_rest)
        elif first == row_at:
            self._row(row_at, gated=row_at == gated_at, recurrent=row_at == back_at)
        elif kind == END:
            self._input.take(turn_at)
            self._ended = None
            self._dropping_from[(self._turn - 1) % self._streams] = turn_at + 1
            self._told.append((END, 0))
        else:
            self._close(kind, turn_at)
        return True

    def _recurrent_at(self, ready: int) -> int:
        """Cycle in which the next recurrent event of this turn may become a request."""
        dropping_from = self._dropping_from[self._turn % self._streams]
        while self._complete_from is None and (head := self._recurrent.head()) is not None:
            kind, shown = head
            if kind == EVENT and max(shown, ready) < dropping_from:
                return max(shown, ready)
            # A tick, or an event of a sequence that has ended: the lanes do not get it.
            taken = max(shown, self._turn_from)
            if kind == TICK:
                self._complete_from = taken
            else:
                taken = max(taken, dropping_from)
            self._recurrent.take(taken)
        return _NEVER

    def _gated_at(self) -> tuple[int, int]:
        """Cycles in which the next gated event may become a request, and their tick closes the step."""
        kind, shown = self._gated_events.head() or (TICK, _NEVER)
        if kind == EVENT:
            return max(shown, self._read_from, self.lanes.free), _NEVER
        return _NEVER, max(shown, self._read_from, self._no_border_from())

    def _turn_at(self, kind: int, at: int) -> int:
        """Cycle in which the turn ends with a token that waits from `at` on."""
        if kind == END:
            if self._ended is None and not self._jobs.undecided:
                self._ended = self._jobs.enter(at)
            return _NEVER if self._ended is None else self._ended
        if self._complete_from is None or self._jobs.undecided or (kind == TICK and self._gating):
            return _NEVER
        at = max(at, self._turn_from, self._complete_from, self._no_border_from())
        if kind == TICK:
            at = max(at, self._read_from, self._done_from[0])
        return at

    def _no_border_from(self) -> int:
        return self._border_gone_from if self._border_at is None else self._border_at + 1

    def _row(self, cycle: int, *, gated: bool, recurrent: bool) -> None:
        """Take an event in this cycle; a border that waits rides on its row."""
        if self._border_at is not None:
            self._border_at, self._border_gone_from = None, cycle + 1
        self.lanes.ask(cycle, row=True)
        if gated:
            self._gated_events.take(cycle)
            self.gated_events += 1
        elif recurrent:
            self._recurrent.take(cycle)
            self.recurrent_events += 1
        else:
            self._input.take(cycle)
            self.input_events += 1

    def _border(self, closed: int, at_rest: bool) -> int:
        """Close a step in this cycle. Returns the cycle in which its sums are complete."""
        if at_rest:
            start = closed + 1
        else:
            self._border_at = max(closed + 1, self.lanes.free)
            start = self.lanes.border(self._border_at) + CLOSE_LATENCY
        self._read_from = start + self._timing.read
        return start

    def _close(self, kind: int, at: int) -> None:
        """End the turn with TICK or PASS."""
        closed = self._jobs.enter(at)
        start: int | None = 0
        if kind == TICK:
            self._done_from.popleft()
            start = self._border(closed, self.lanes.at_rest(closed))
            if self._gated is not None:
                self._gate(next(self._gated), start, closed + 1)
                start = None
        self._told.append((kind, start))
        self._input.take(closed)
        self._dropping_from[self._turn % self._streams] = _NEVER
        self._turn += 1
        self._turn_from = closed + 1
        self._complete_from = 0 if self._turn < self._streams else None

    def _gate(self, units: Sequence[int], start: int, told: int) -> None:
        """Send the step's gated events; nothing holds them up."""
        self._gating = True
        step = self._gate_encoder.step(units, start=start, told=told, sent=0)
        kind, loaded = next(step)
        while kind == EVENT:
            self._gated_events.send(EVENT, loaded + 1)
            kind, loaded = step.send(loaded + 1)
        self._gated_events.send(TICK, loaded + 1)


class ReadoutModel:
    """A readout: scheduler, lanes and the scan of its classes.

    Parameters
    ----------
    classes, mode, lanes, queue_depth : of the readout
    source : tokens that arrive

    Attributes
    ----------
    lanes : with the cycles in which they were busy
    input_events : rows fetched
    """

    recurrent_events = gated_events = 0

    def __init__(self, *, classes: int, mode: str, lanes: int, queue_depth: int, source: Tokens):
        self.lanes = Lanes(RowGeometry(positions=classes, lanes=lanes).words)
        self.input_events = 0
        self._classes = classes
        self._every, self._counts = mode == "every", mode == "mean"
        self._source = TokenInput(source, queue_depth)

    def ends(self) -> Iterator[int]:
        """Cycles in which the END of each sequence leaves."""
        source, lanes = self._source, self.lanes
        sent_from = 0  # what was due before is sent
        ticked = -1  # a step is counted in this cycle
        while (head := source.head()) is not None:
            kind, at = head
            if kind == EVENT:
                at = max(at, lanes.free)
                lanes.ask(at, row=True)
                self.input_events += 1
            elif kind == END or (kind == TICK and self._every):
                at = max(at, lanes.empty_from, sent_from, ticked + 1)
                closing = lanes.border(at) + READOUT_CLOSE_LATENCY + 1
                lanes.ask(at, row=False)
                if kind == TICK or not self._every:  # logits go before it
                    closing += self._classes + LOGIT_LATENCY
                if kind == END:
                    yield closing
                sent_from = closing + 1
            elif kind == TICK and self._counts:
                ticked = at + 1
            source.take(at)
