"""The accumulators' read-modify-write has no hazard, whatever the spacing of products."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Module, Mux, Signal

from egret_hw.accumulator import (
    PART_DEPTH,
    SUM_LATENCY,
    SUM_READ_LATENCY,
    TAG_AHEAD,
    Accumulator,
)

from .checker import drive
from .peek import Peek
from .proof import Build

#: Cycles from a tag to its sum in the memory.
_WRITE_LATENCY = TAG_AHEAD + 2
#: Cycles in which no tag may go to a reader's bank: the last one is that in which it asks. A product that
#: comes `SUM_LATENCY` cycles before that is in what the reader gets; its tag is earlier still.
_QUIET = SUM_LATENCY + TAG_AHEAD - 1


def sums_are_sums(
    *, slots: int, forward: bool, spacing: int, product_bits: int = 2, sum_bits: int = 3, banks: int = 2
) -> Build:
    """Every accumulator holds the sum of its products since the last that was `first`, and a reader gets it.

    One accumulator is chosen; a plain sum is kept beside it. Products to one accumulator come `spacing`
    cycles after each other at the earliest. Products and the reader are in different banks, as the
    component's contract asks.
    """

    def build(m: Module) -> None:
        lane = Accumulator(
            product_bits=product_bits, sum_bits=sum_bits, slots=slots, banks=banks, forward=forward
        )
        peek = Peek(m, "lane", lane)
        drive(m, lane)
        bank, slot = Signal.like(lane.tag.bank), Signal.like(lane.tag.slot)
        m.d.comb += [bank.eq(AnyConst(len(bank))), slot.eq(AnyConst(len(slot)))]
        tag = lane.tag
        m.d.comb += [
            Assume((bank < banks) & (slot < slots)),
            Assume((tag.bank < banks) & (tag.slot < slots)),
            Assume((lane.read_bank < banks) & (lane.read_slot < slots)),
        ]

        # The environment: a reader's bank is quiet, and so is an accumulator that was just added to.
        strobes, banks_before, slots_before = [tag.strobe], [tag.bank], [tag.slot]
        for age in range(1, max(_QUIET, spacing)):
            before = Signal(name=f"strobe_before{age}")
            bank_before = Signal.like(tag.bank, name=f"bank_before{age}")
            slot_before = Signal.like(tag.slot, name=f"slot_before{age}")
            m.d.sync += [
                before.eq(strobes[-1]),
                bank_before.eq(banks_before[-1]),
                slot_before.eq(slots_before[-1]),
            ]
            strobes.append(before)
            banks_before.append(bank_before)
            slots_before.append(slot_before)
        for age in range(_QUIET):
            m.d.comb += Assume(~(lane.reading & strobes[age] & (banks_before[age] == lane.read_bank)))
        for age in range(1, spacing):
            same = (banks_before[age] == tag.bank) & (slots_before[age] == tag.slot)
            m.d.comb += Assume(~(tag.strobe & strobes[age] & same))

        # The plain sum of what the ports have said, at the time when the memory has it.
        hit = [tag.strobe & (tag.bank == bank) & (tag.slot == slot)]
        first = [tag.first]
        for age in range(1, _WRITE_LATENCY):
            late, late_first = Signal(name=f"hit{age}"), Signal(name=f"first{age}")
            m.d.sync += [late.eq(hit[-1]), late_first.eq(first[-1])]
            hit.append(late)
            first.append(late_first)
        product = Signal.like(lane.product)
        m.d.sync += product.eq(lane.product)
        total = Signal.like(lane.sum, name="total")
        with m.If(hit[-1]):
            m.d.sync += total.eq(Mux(first[-1], 0, total) + product)

        parts = range(-(-slots // PART_DEPTH))
        words = [
            peek.word(m, f"bank{number}_part{part}", slot[: PART_DEPTH.bit_length() - 1])
            for number in range(banks)
            for part in parts
        ]
        place = bank * len(parts) + (slot >> (PART_DEPTH.bit_length() - 1))
        m.d.comb += Assert(Array(words)[place] == total.as_unsigned())

        # What is read was the sum when the address was there.
        asked = [lane.reading & (lane.read_bank == bank) & (lane.read_slot == slot)]
        for age in range(1, SUM_READ_LATENCY + 1):
            late = Signal(name=f"asked{age}")
            m.d.sync += late.eq(asked[-1])
            asked.append(late)
        read = Signal.like(total, name="total_when_read")
        m.d.sync += read.eq(total)
        with m.If(asked[SUM_READ_LATENCY]):
            m.d.comb += Assert(lane.sum == read)

    return build
