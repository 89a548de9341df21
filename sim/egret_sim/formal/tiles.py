"""A small complete tile: its parts keep what they promise each other, and it never comes to a standstill."""

from typing import Any

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value

from egret_hw.accumulator import SUM_LATENCY, TAG_AHEAD
from egret_hw.event_encoder import EventEncoder
from egret_hw.mac_array import PRODUCT_LATENCY
from egret_hw.stream import Kind
from egret_hw.tile import Tile

from .checker import drive_stream
from .peek import Peek
from .proof import Build
from .streams import tile

#: The next tile takes a token after so many cycles at the latest.
PATIENCE = 2


def parts_agree(*, units: int, lanes: int, **options: Any) -> Build:
    """Promises between the parts of a tile, which their own proofs take for granted.

    The queue of recurrent events is never full, nor is the encoder's store of groups; no product comes to a
    bank that is read; a bank is read from its beginning only so long after the reading before as the gather
    asks. In the compact form, no product at all comes where a sum is read. With `reset="before"` the gated
    events' queue and encoder have a place for everything as well.
    """

    def build(m: Module) -> None:
        dut = tile(lanes=lanes, units=units, **options)
        compact = dut.compact
        peek = driven(m, dut)
        gather = dut.gather
        m.d.comb += Assert(~dut.recurrent.i.valid | dut.recurrent.i.ready)

        macs = peek.part("macs")
        strobe, bank = macs.strobe, macs.word.bank
        # A block memory must not be read where it is written, so a sum there is complete a cycle later.
        quiet = SUM_LATENCY + TAG_AHEAD + compact
        for age in range(1, PRODUCT_LATENCY - TAG_AHEAD + quiet):
            late, late_bank = Signal(name=f"product{age}"), Signal(name=f"product_bank{age}")
            m.d.sync += [late.eq(strobe), late_bank.eq(bank)]
            strobe, bank = late, late_bank
            if age >= PRODUCT_LATENCY - TAG_AHEAD:
                asks = age == PRODUCT_LATENCY - TAG_AHEAD  # for its own sum, from the same port
                there = (bank == macs.read_bank) | (compact and asks)
                m.d.comb += Assert(~(macs.reading & strobe & there))

        # Two cycles from `done` to `start`, and two from reset.
        reading, rested = Signal(), Signal(2)
        m.d.sync += rested.eq(Mux(gather.done, 1, Cat(1, rested[0])))
        with m.If(gather.start):
            m.d.comb += Assert(~reading & ~gather.done & (rested[1] | compact))
            m.d.sync += reading.eq(1)
        with m.Elif(gather.done):
            m.d.sync += reading.eq(0)

        _places(m, dut.encoder)
        if dut.scheduler.gate_first:
            _places(m, peek.part("gate_encoder"))
            gated = peek.part("gated")
            m.d.comb += Assert(~gated.i.valid | gated.i.ready)

    return build


def never_stands_still(*, units: int, lanes: int, cycles: int, **options: Any) -> Build:
    """While a token waits, or a TICK that was taken is not out, a token moves within `cycles` cycles.

    The next tile keeps each token waiting for :data:`PATIENCE` cycles at most.
    """

    def build(m: Module) -> None:
        dut = tile(lanes=lanes, units=units, **options)
        driven(m, dut)
        owed = Signal(4)
        moved_in, moved_out = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        ticked = moved_in & (dut.i.payload.kind == Kind.TICK)
        m.d.sync += owed.eq(owed + ticked - (moved_out & (dut.o.payload.kind == Kind.TICK)))
        still = Signal(range(cycles + 2))
        with m.If(moved_in | moved_out | (~dut.i.valid & (owed == 0))):
            m.d.sync += still.eq(0)
        with m.Else():
            m.d.sync += still.eq(still + 1)
        m.d.comb += Assert(still < cycles)

    return build


def _places(m: Module, encoder: EventEncoder) -> None:
    """An encoder's store has a place for each group of results: those of TICKs that went out have left."""
    groups = Signal(range(encoder.depth + encoder.groups + 2))
    left = groups - Mux(encoder.done, encoder.groups, 0)
    m.d.sync += groups.eq(left + encoder.result_strobe)
    m.d.comb += Assert(~encoder.result_strobe | (left < encoder.depth))


def driven(m: Module, dut: Tile) -> Peek:
    """Any sequences of tokens in, and a next tile that takes them soon."""
    peek = Peek(m, "tile", dut)
    drive_stream(m, dut.i, "i")
    m.d.comb += dut.o.ready.eq(AnySeq(1))
    waited = Signal(range(PATIENCE + 1))
    with m.If(dut.o.valid & ~dut.o.ready):
        m.d.comb += Assume(waited != PATIENCE)
        m.d.sync += waited.eq(waited + 1)
    with m.Else():
        m.d.sync += waited.eq(0)
    kind, streams = dut.i.payload.kind, dut.streams
    after_tick, empty = Signal(), Signal(init=1)
    turn, before = Signal(range(max(2, streams))), Signal(range(max(2, streams)))
    under_way = Array(Signal(name=f"under_way{n}") for n in range(streams))  # a sequence is
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += [after_tick.eq(kind == Kind.TICK), empty.eq(kind != Kind.EVENT)]
        with m.If((kind == Kind.TICK) | (kind == Kind.PASS)):
            m.d.sync += [before.eq(turn), turn.eq(Mux(turn == streams - 1, 0, turn + 1))]
        with m.If(kind == Kind.TICK):
            m.d.sync += under_way[turn].eq(1)
        with m.If(kind == Kind.END):
            m.d.sync += under_way[before].eq(0)
    may_pass = ~under_way[turn] & empty if streams > 1 else Const(0)
    m.d.comb += [
        Assume(~dut.i.valid | (kind != Kind.END) | after_tick),
        Assume(~dut.i.valid | (kind != Kind.PASS) | may_pass),
        Assume(dut.i.payload.index < dut.layer.spec.inputs),
        Assume((kind == Kind.EVENT) | (Value.cast(dut.i.payload.value) == 0)),
    ]
    return peek
