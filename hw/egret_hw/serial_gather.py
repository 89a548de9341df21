"""Collects the sums of one unit after another from block memories that the products use in every cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe, strobe_pipe
from .block_sums import BLOCK_SUM_READ_LATENCY, HOLD_LATENCY
from .geometry import CANDIDATE, GATES, LayerGeometry
from .step import step_layout
from .stream import index_shape
from .sum_gather import GATHER_LATENCY

SERIAL_START_LATENCY = 3
"""Cycles from `start` until sums are asked for, at the earliest."""

_WORD_LATENCY = HOLD_LATENCY + BLOCK_SUM_READ_LATENCY + 1  # from a read asked for to its sums in the register
_STROBE_LATENCY = _WORD_LATENCY + 1  # from the cursor on a candidate to its unit's sums


class SerialGather(wiring.Component):
    """Reads all accumulators of a bank in the order of their units: a word at a time, a unit in 3 cycles.

    For each word of a row it takes one cycle from the products (`hold`), in which every lane reads the same
    accumulator, and another one for the second sums of candidates: with lanes that hold all gates in turn,
    for three words at once. So a bank costs `slots` cycles of the lanes. The sums then leave a shift register
    one by one; the second sums go round in another one, so that the one that belongs to the first sum's lane
    is always at its beginning.

    Latency: the first `ahead_group` is there one cycle after `start`, or two; `GATHER_LATENCY` cycles from it
    to `strobe`. Throughput: a unit in 3 cycles.

    Members
    -------
    start : In, 1 = read the bank named by `bank` from its beginning; only given when idle
    bank, step : In, looked at with `start`
    hold : Out, 1 = no word of weights may go out in this cycle
    reading, read_bank, read_slots, lane_sums : to and from :class:`~egret_hw.mac_array.MacArray`
    done : Out, 1 = all sums of the bank were used
    ahead, ahead_group, strobe, group, last, firsts, seconds, sums_step : as those of
        :class:`~egret_hw.sum_gather.SumGather`
    """

    def __init__(self, *, geometry: LayerGeometry, sum_bits: int, streams: int):
        self.geometry = geometry
        self.groups = geometry.positions // GATES
        group = index_shape(self.groups)
        self.sum_shape = signed(sum_bits)
        super().__init__(
            {
                "start": In(1),
                "bank": In(1),
                "step": In(step_layout(streams=streams)),
                "hold": Out(1),
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
                "firsts": Out(data.ArrayLayout(self.sum_shape, GATES)),
                "seconds": Out(data.ArrayLayout(self.sum_shape, 1)),
                "sums_step": Out(step_layout(streams=streams)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, words = self.geometry.lanes, self.geometry.words

        # The cursor: a position, `_WORD_LATENCY` cycles before it is at the beginning of the shift register.
        active = Signal()
        lane, gate = Signal(index_shape(lanes)), Signal(range(GATES))
        unit = Signal(index_shape(self.groups))
        word, second = Signal(index_shape(words)), Signal(index_shape(self.geometry.slots), init=words)
        phase = Signal(range(GATES))  # of the word, modulo 3
        candidate = active & (gate == CANDIDATE)
        last = candidate & (unit == self.groups - 1)
        with m.If(active):
            m.d.sync += gate.eq(Mux(gate == CANDIDATE, 0, gate + 1))
            with m.If(gate == CANDIDATE):
                m.d.sync += unit.eq(unit + 1)
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1), phase.eq(Mux(phase == GATES - 1, 0, phase + 1))]
                with m.If((phase == GATES - 1) if self.geometry.mixed else 1):
                    m.d.sync += second.eq(second + 1)
            with m.Else():
                m.d.sync += lane.eq(lane + 1)
            with m.If(last):
                m.d.sync += [active.eq(0), gate.eq(0), unit.eq(0), lane.eq(0), word.eq(0), phase.eq(0)]
                m.d.sync += second.eq(second.init)
        bank, step = Signal(), Signal(self.step.shape(), reset_less=True)
        with m.If(self.start):
            m.d.sync += [active.eq(1), bank.eq(self.bank), step.eq(self.step)]

        # Reads: the word's first sums with its first lane, the second ones a cycle later. With one lane, the
        # word is over by then; what it reads follows from registers all the same.
        ask_first = active & (lane == 0)
        opens = (phase == 0) if self.geometry.mixed else 1
        ask_second = strobe_pipe(m, ask_first & opens, "ask_second", 1)
        slot = Mux(ask_second, pipe(m, second, "second_asked"), word)
        read_slot = pipe(m, slot, "read_slot", HOLD_LATENCY)
        m.d.comb += [
            self.hold.eq(ask_first | ask_second),
            self.reading.eq(strobe_pipe(m, self.hold, "reading", HOLD_LATENCY)),
            self.read_bank.eq(bank),
            *[one.eq(read_slot) for one in self.read_slots],
        ]

        # The registers. Second sums come a cycle after the first ones, so they start one place further.
        first_sums = [Signal(self.sum_shape, name=f"first{n}", reset_less=True) for n in range(lanes)]
        second_sums = [Signal(self.sum_shape, name=f"second{n}", reset_less=True) for n in range(lanes)]
        load_first = strobe_pipe(m, ask_first, "load_first", _WORD_LATENCY - 1)
        load_second = strobe_pipe(m, ask_second, "load_second", _WORD_LATENCY - 1)
        for place in range(lanes):
            after = (place + 1) % lanes
            m.d.sync += [
                first_sums[place].eq(Mux(load_first, self.lane_sums[place], first_sums[after])),
                second_sums[place].eq(Mux(load_second, self.lane_sums[after], second_sums[after])),
            ]

        # A sum to which nothing was added counts as zero.
        ready = strobe_pipe(m, candidate, "candidate", _WORD_LATENCY)
        held = [Signal(self.sum_shape, name=f"held{n}", reset_less=True) for n in range(GATES + 1)]
        late_gate = pipe(m, gate, "late_gate", _WORD_LATENCY)
        counted = (step.has_any, step.has_any, step.has_input)
        for number in range(GATES):
            with m.If(late_gate == number):
                m.d.sync += held[number].eq(Mux(counted[number], first_sums[0], 0))
        m.d.sync += held[GATES].eq(Mux(step.has_recurrent, second_sums[-1], 0))

        number = Signal(index_shape(self.groups))  # of the unit whose sums come next
        m.d.comb += [
            self.strobe.eq(strobe_pipe(m, ready, "strobe", 1)),
            self.group.eq(number),
            self.last.eq(number == self.groups - 1),
            self.ahead.eq(strobe_pipe(m, candidate, "ahead", _STROBE_LATENCY - GATHER_LATENCY)),
            self.ahead_group.eq(pipe(m, unit, "ahead", _STROBE_LATENCY - GATHER_LATENCY)),
            self.sums_step.eq(step),
            self.done.eq(strobe_pipe(m, self.strobe & self.last, "done", 1)),
            *[out.eq(one) for out, one in zip([*self.firsts, *self.seconds], held, strict=True)],
        ]
        with m.If(self.strobe):
            m.d.sync += number.eq(Mux(self.last, 0, number + 1))
        return m
