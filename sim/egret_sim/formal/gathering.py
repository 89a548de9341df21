"""The gather hands each unit the sums that the lanes hold for it, and zero where no event has come."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Assert, Assume, Module, Mux, Signal, Value

from egret_hw.accumulator import SUM_READ_LATENCY
from egret_hw.arithmetic import pipe, strobe_pipe
from egret_hw.block_sums import BLOCK_SUM_READ_LATENCY
from egret_hw.geometry import CANDIDATE, GATES, LayerGeometry
from egret_hw.serial_gather import SerialGather
from egret_hw.sum_gather import SumGather

from .checker import drive
from .proof import Build

#: Bits of a sum: enough to tell sums apart, as each may be any.
_SUM_BITS = 2


def sums_are_handed_over(*, units: int, lanes: int, update_lanes: int = 1, compact: bool = False) -> Build:
    """Groups come in order, each with its units' sums, from where the layer's weights have put them.

    Each accumulator of the bank may hold anything. A bank is read from its beginning two cycles after the
    reading before at the earliest, and two cycles after reset.
    """

    def build(m: Module) -> None:
        geometry = LayerGeometry.of(units=units, lanes=lanes)
        dut: SumGather | SerialGather
        if compact:
            dut = SerialGather(geometry=geometry, sum_bits=_SUM_BITS, streams=1)
        else:
            dut = SumGather(geometry=geometry, units=update_lanes, sum_bits=_SUM_BITS, streams=1)
        m.submodules.dut = dut
        drive(m, dut)
        groups = dut.groups

        # Readings do not overlap; what came with the start stays known.
        busy, rested = Signal(), Signal(2)
        ends = dut.strobe & dut.last
        step, bank = Signal.like(dut.step, name="step_read"), Signal(name="bank_read")
        expected = Signal(range(groups + 1))
        m.d.comb += [Assume(~dut.start | (~busy & (rested == 3)))]
        m.d.sync += rested.eq(Mux(busy, 0, (rested << 1) | 1))
        with m.If(dut.start):
            m.d.sync += [busy.eq(1), step.eq(dut.step), bank.eq(dut.bank), expected.eq(0)]
        with m.Else():
            with m.If(pipe(m, ends, "ended")):
                m.d.sync += busy.eq(0)
            with m.If(dut.strobe):
                m.d.sync += expected.eq(expected + 1)

        # The lanes answer, each from an accumulator of its own, or all from the same one.
        latency = BLOCK_SUM_READ_LATENCY if compact else SUM_READ_LATENCY
        asked = strobe_pipe(m, dut.reading, "asked", latency)
        m.d.comb += Assert(~dut.reading | (dut.read_bank == bank))
        held = []
        for lane in range(lanes):
            sums = [Signal(dut.sum_shape, name=f"lane{lane}_sum{slot}") for slot in range(geometry.slots)]
            m.d.comb += [sum_.eq(AnyConst(_SUM_BITS)) for sum_ in sums]
            slot = pipe(m, dut.read_slots[lane], f"slot{lane}", latency)
            anything = Signal(dut.sum_shape, name=f"anything{lane}")
            m.d.comb += [
                anything.eq(AnySeq(_SUM_BITS)),
                Assume(dut.lane_sums[lane] == Mux(asked, Array(sums)[slot], anything)),
            ]
            held.append(sums)

        def first(position: int) -> Value:
            return held[position % lanes][position // lanes]

        def second(position: int) -> Value:
            word = position // lanes
            return held[position % lanes][geometry.words + (word // GATES if geometry.mixed else word)]

        m.d.comb += [
            Assert(~dut.strobe | (busy & (dut.group == expected) & (dut.last == (expected == groups - 1)))),
            Assert(~dut.strobe | (Value.cast(dut.sums_step) == Value.cast(step))),
        ]
        for unit in range(units):
            group, place = divmod(unit, update_lanes)
            here = dut.strobe & (dut.group == group)
            later = pipe(m, here, "here_late")
            apart = GATES * unit + CANDIDATE if compact else geometry.second_position(unit, update_lanes)
            counts = (step.has_any, step.has_any, step.has_input)
            for gate, counted in enumerate(counts):
                there = Mux(counted, first(GATES * unit + gate), 0)
                m.d.comb += Assert(~here | (dut.firsts[GATES * place + gate] == there))
            there = Mux(step.has_recurrent, second(apart), 0)
            m.d.comb += Assert(~later | (dut.seconds[place] == there))

    return build
