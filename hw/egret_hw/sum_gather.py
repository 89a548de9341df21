"""Collects the sums of P units from the lanes, a group per cycle."""

from collections.abc import Callable
from math import gcd
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .accumulator import SUM_READ_LATENCY
from .arithmetic import pipe, strobe_pipe
from .geometry import CANDIDATE, GATES, LayerGeometry
from .selector import Selector
from .step import step_layout
from .stream import index_shape

START_LATENCY = 1
"""Cycles from `start` to the first group's turn."""

_SLOTS_AHEAD = 2  # reads by which addresses are worked out before they are asked for
_CHOICE_LATENCY = 2  # from the lanes' sums to the group's
GATHER_LATENCY = SUM_READ_LATENCY + _CHOICE_LATENCY
"""Cycles from `ahead` to the sums of that group."""


class SumGather(wiring.Component):
    """Reads all accumulators of a bank in the order of their units, P units at a time.

    Position p lies in lane p mod L, so consecutive positions lie in different lanes and are read in one
    cycle; each lane gets an address of its own, since a group may reach over the end of a word. The second
    sums of a group's candidates lie in the same lanes as its first ones. With 6P lanes or more they are
    read while the next group is, since those lanes are free then. With 4P lanes second sums may lie beside
    the first ones (:meth:`~egret_hw.geometry.LayerGeometry.spreads`), and are read with them. Otherwise a
    group takes turns: for its first sums, up to L positions in each, and one for its second sums.

    The order of the reads is always the same, so their addresses are worked out ahead: those of the first
    two reads wait in registers for the start, and behind a bank's last ones come the first ones again.

    A group's sums are chosen in two steps: a window that holds them by the higher bits of where the group
    begins, the group by the lower ones.

    Latency: the first `ahead` comes :data:`START_LATENCY` cycles after `start` (or with the group's last turn
    but one); :data:`GATHER_LATENCY` cycles from `ahead` to `strobe`. Throughput: one group in `reads` cycles,
    1 with 6P lanes or more, or second sums beside the first.

    Parameters
    ----------
    geometry : of the layer
    units : P
    sum_bits : width of a sum
    streams : sequences that are under way at once

    Members
    -------
    start : In, 1 = read the bank named by `bank` from its beginning; given two cycles after `done` at the
        earliest, and two cycles after reset
    bank, step : In, looked at with `start`
    reading, read_bank, read_slots, lane_sums : to and from :class:`~egret_hw.mac_array.MacArray`
    done : Out, 1 = the last read of a bank will be asked for within two cycles, so products may be sent there
        again; they take longer
    ahead, ahead_group : Out, a group's number before its sums, for memories that go with it
    strobe, group, last : Out, 1 = `firsts` is valid; the group's number; whether it is the bank's last
    firsts : Out, first sums of the group: 3k + g is gate g of its unit k; 0 where no event came, undefined
        beyond the last unit
    seconds : Out, one cycle later, the second sums of its candidates
    sums_step : Out, beside `firsts`, `step` as it was at the start
    """

    def __init__(self, *, geometry: LayerGeometry, units: int, sum_bits: int, streams: int):
        self.geometry = geometry
        self.units = units
        self.groups = -(-geometry.positions // (GATES * units))
        group = index_shape(self.groups)
        self.sum_shape = signed(sum_bits)
        self.turns = max(1, -(-GATES * units // geometry.lanes))
        self.overlapped = 2 * GATES * units <= geometry.lanes
        self.spread = geometry.spreads(units)
        self.pipelined = self.overlapped or self.spread
        self.reads = 1 if self.pipelined else self.turns + 1
        self._read_count = self.groups * self.reads + self.overlapped
        if units > 1 and GATES * units > geometry.lanes:
            raise ValueError(f"units must be 1 or at most a third of {geometry.lanes} lanes, not {units}")
        super().__init__(
            {
                "start": In(1),
                "bank": In(1),
                "step": In(step_layout(streams=streams)),
                "reading": Out(1),
                "read_bank": Out(1),
                "read_slots": Out(data.ArrayLayout(index_shape(geometry.slots), geometry.lanes)),
                "lane_sums": In(data.ArrayLayout(self.sum_shape, geometry.lanes)),
                "done": Out(1),
                "ahead": Out(1),
                "ahead_group": Out(group),
                "strobe": Out(1),
                "group": Out(group),
                "last": Out(1),
                "firsts": Out(data.ArrayLayout(self.sum_shape, GATES * units)),
                "seconds": Out(data.ArrayLayout(self.sum_shape, units)),
                "sums_step": Out(step_layout(streams=streams)),
            }
        )

    @property
    def done_read(self) -> int:
        """The read in which `done` is given; the first is 0."""
        return self._read_count - 1 - (_SLOTS_AHEAD if self._read_count > _SLOTS_AHEAD else 0)

    def elaborate(self, platform):
        m = Module()
        lanes, size = self.geometry.lanes, GATES * self.units

        # Where the reads' addresses are worked out: a read covers up to L positions of word `word`, from lane
        # `offset * stride` on. All of it moves on together, and goes round and round.
        step = size - (self.turns - 1) * lanes
        stride = gcd(step, lanes)
        count = lanes // stride
        group = Signal(index_shape(self.groups))
        last_group = Signal(init=self.groups == 1)
        turn = Signal(range(max(self.reads, 2)))
        trailing = Signal()  # overlapped: one more read for the last group's second sums
        word = _Word(self.geometry, "word")
        offset = Signal(index_shape(count))

        running, moving = Signal(), Signal(init=1)
        filled = strobe_pipe(m, Const(1), "filled", _SLOTS_AHEAD - 1)  # once, after reset
        # From a group's last first sums to the next group's: what is left of the group's positions.
        wrap = Signal()
        moved = Signal(range(2 * count))
        m.d.comb += [moved.eq(offset + step // stride), wrap.eq(moved >= count)]
        last_turn = Const(1) if self.pipelined else turn == self.reads - 1
        final = trailing if self.overlapped else last_turn & last_group
        with m.If(moving & final):
            m.d.sync += [
                group.eq(0),
                last_group.eq(last_group.init),
                turn.eq(0),
                trailing.eq(0),
                offset.eq(0),
            ]
            word.clear(m)
        with m.Elif(moving & last_turn):
            m.d.sync += [
                turn.eq(0),
                group.eq(group + 1),
                last_group.eq(group == self.groups - 2),
                offset.eq(Mux(wrap, moved - count, moved)),
                trailing.eq(last_group),
            ]
            with m.If(wrap):
                word.advance(m)
        if not self.pipelined:
            with m.If(moving & ~last_turn):
                m.d.sync += turn.eq(turn + 1)
                with m.If(turn < self.turns - 1):
                    word.advance(m)

        def ahead(value: Value, name: str, stages: int = _SLOTS_AHEAD) -> Value:
            """`value`, so many reads later."""
            for stage in range(stages):
                register = Signal(value.shape(), name=f"{name}_ahead{stage}", reset_less=True)
                with m.If(moving):
                    m.d.sync += register.eq(value)
                value = register
            return value

        # The read that is asked for.
        now_group, now_last, now_turn = ahead(group, "group"), ahead(last_group, "last"), ahead(turn, "turn")
        now_offset, now_trailing = ahead(offset, "offset"), ahead(trailing, "trailing")
        now_final = ahead(final, "final")
        goes_on = self.start | (running & ~now_final)
        m.d.sync += [running.eq(goes_on), moving.eq(goes_on | ~filled)]
        held_bank, held_step = Signal(), Signal(self.step.shape(), reset_less=True)
        with m.If(self.start):
            m.d.sync += [held_bank.eq(self.bank), held_step.eq(self.step)]
        m.d.comb += [
            self.reading.eq(running),
            self.read_bank.eq(held_bank),
            self.done.eq(running & (final if self._read_count > _SLOTS_AHEAD else now_final)),
        ]

        # Addresses: lanes below the offset belong to the next word.
        def where(condition):
            """1 at those offsets; a small table, where a comparison would be a carry chain."""
            return Cat(offset == number for number in range(count) if condition(number * stride)).any()

        at = word.later(ahead)
        for lane in range(lanes):
            below = ahead(where(lambda first, lane=lane: first > lane), f"below{lane}", 1)
            if self.overlapped:  # lanes outside the group may read the second sums of the group before
                mine = where(lambda first, lane=lane: (lane - first) % lanes < size)
                seconds = [at.previous_second, at.second]
            elif self.spread:
                mine = where(lambda first, lane=lane: (lane - first) % lanes < size)
                seconds = [at.second, at.second]
            else:
                mine = turn != self.turns
                seconds = [at.second, at.next_second]
            slots = [*seconds, at.first, at.next_first]
            index = Cat(below, ahead(mine, f"mine{lane}", 1))
            slot = self._chosen(m, f"slot{lane}", slots, index)
            m.d.comb += self.read_slots[lane].eq(ahead(slot, f"slot{lane}", 1))

        # The strobe comes with the first sums' register, or so late that the second sums follow in the next
        # cycle.
        if self.pipelined:
            m.d.comb += self.ahead.eq(running & ~now_trailing)
        else:
            m.d.comb += self.ahead.eq(running & (now_turn == self.reads - 2))
        m.d.comb += [
            self.ahead_group.eq(now_group),
            self.strobe.eq(strobe_pipe(m, self.ahead, "answer", GATHER_LATENCY)),
            self.group.eq(pipe(m, now_group, "answer_group", GATHER_LATENCY)),
            self.last.eq(pipe(m, now_last, "answer_last", GATHER_LATENCY)),
        ]
        early_step = pipe(m, held_step, "early_step", GATHER_LATENCY - 1)
        late_step = pipe(m, early_step, "late_step")
        m.d.comb += self.sums_step.eq(late_step)

        # The lanes' answers: first the window, then what the group is of it.
        firsts = list(range(size))
        if self.spread:  # behind the first ones
            seconds = [size + unit for unit in range(self.units)]
        else:
            # Overlapped, the offset has moved on to the next group when the second sums come.
            behind = size if self.overlapped else 0
            seconds = [GATES * unit + CANDIDATE - behind for unit in range(self.units)]
        low_bits = _low_bits(count, stride, {*firsts, *seconds})
        lows = min(count, 1 << low_bits)
        window_offset = pipe(m, now_offset, "window_offset", SUM_READ_LATENCY)
        answer_offset = pipe(m, window_offset, "answer_offset")
        answer_turn = pipe(m, now_turn, "answer_turn", GATHER_LATENCY - 1)
        window = {}
        for position in sorted({low * stride + place for low in range(lows) for place in firsts + seconds}):
            starts = range(0, lanes, stride << low_bits)
            sums = [self.lane_sums[(start + position) % lanes] for start in starts]
            chosen = self._chosen(m, f"window{position - min(seconds)}", sums, window_offset >> low_bits)
            window[position] = pipe(m, chosen, f"window_sum{position - min(seconds)}")

        # A sum to which nothing was added counts as zero.
        second_step = late_step if self.overlapped else early_step
        counts = [early_step.has_any, early_step.has_any, early_step.has_input]
        parts = [(f"first{place}", place, counts[place % GATES], place // lanes) for place in firsts]
        parts += [
            (f"second{unit}", place, second_step.has_recurrent, self.turns)
            for unit, place in enumerate(seconds)
        ]
        held = []
        for name, place, counted, its_turn in parts:
            sums = [window[low * stride + place] for low in range(lows)]
            chosen = self._chosen(m, name, sums, answer_offset[:low_bits], counted)
            register = Signal(self.sum_shape, name=f"{name}_held", reset_less=True)
            with m.If(1 if self.pipelined else answer_turn == its_turn):
                m.d.sync += register.eq(chosen)
            late = self.spread and place >= size
            held.append(pipe(m, register, f"{name}_late") if late else register)
        m.d.comb += [
            out.eq(register) for out, register in zip([*self.firsts, *self.seconds], held, strict=True)
        ]
        return m

    def _chosen(self, m: Module, name: str, words: list, index: Value, enable: ValueLike = 1) -> Value:
        """The word that `index` names, or zero."""
        m.submodules[name] = selector = Selector(width=len(words[0]), count=len(words))
        m.d.comb += [
            selector.choices.eq(Cat(words)),
            selector.index.eq(index),
            selector.enable.eq(enable),
        ]
        return selector.chosen


def _low_bits(count: int, stride: int, places: set[int]) -> int:
    """Bits of the offset for the second choice, so that both together take the least logic."""

    def cost(bits: int) -> int:
        lows = min(count, 1 << bits)
        window = {low * stride + place for low in range(lows) for place in places}
        return len(window) * -(-count // lows) + len(places) * lows

    return min(range(ceil_log2(count) + 1), key=cost)


class _Word:
    """A word's number with the slots of its sums and of its neighbours' sums, each in a register."""

    def __init__(self, geometry: LayerGeometry, name: str):
        shape = index_shape(geometry.slots + 2)
        self.geometry = geometry
        after = geometry.words if geometry.mixed else geometry.words + 1
        self.first = Signal(shape, name=f"{name}_first")
        self.next_first = Signal(shape, name=f"{name}_next_first", init=1)
        self.previous_second = Signal(shape, name=f"{name}_previous_second", reset_less=True)
        self.second = Signal(shape, name=f"{name}_second", init=geometry.words)
        self.next_second = Signal(shape, name=f"{name}_next_second", init=after)
        self.phase = Signal(range(GATES), name=f"{name}_phase")  # the number modulo 3

    def later(self, ahead: Callable[[Value, str, int], Value]) -> SimpleNamespace:
        """The slots, a read later."""
        names = ("first", "next_first", "previous_second", "second", "next_second")
        return SimpleNamespace(**{name: ahead(getattr(self, name), f"word_{name}", 1) for name in names})

    def clear(self, m: Module) -> None:
        """Go to word 0."""
        for register in (self.first, self.next_first, self.second, self.next_second, self.phase):
            m.d.sync += register.eq(register.init)

    def advance(self, m: Module) -> None:
        """Go to the next word. Three words share a slot for second sums if lanes hold all gates in turn."""
        grows = (self.phase == 1) if self.geometry.mixed else 1
        m.d.sync += [
            self.first.eq(self.next_first),
            self.next_first.eq(self.next_first + 1),
            self.previous_second.eq(self.second),
            self.second.eq(self.next_second),
            self.next_second.eq(self.next_second + grows),
            self.phase.eq(Mux(self.phase == GATES - 1, 0, self.phase + 1)),
        ]
