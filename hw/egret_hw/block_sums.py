"""The sums of several lanes in block memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .accumulator import TAG_AHEAD, tag_layout
from .arithmetic import pipe, strobe_pipe
from .blocks.family import ICE40, family_of
from .blocks.ice40_memory import EBR_DEPTH, Ebr
from .blocks.ports import ram_members
from .memory import READ_LATENCY
from .multiplier import MULTIPLY_LATENCY
from .overflow import OverflowWatch
from .stream import index_shape

HOLD_LATENCY = READ_LATENCY + MULTIPLY_LATENCY - TAG_AHEAD
"""Cycles from a word that does not go out to the cycle in which no product asks for its sum."""

BLOCK_SUM_READ_LATENCY = 1
"""Cycles from `read_slot` to `sums`."""


class BlockSums(wiring.Component):
    """Adds products into banks of sums, one per lane and cycle; the lanes share a tag and so an address.

    It does what :class:`~egret_hw.accumulator.Accumulator` does, with the same timing, for families without
    distributed memory. Both banks lie in one memory, which has one port to read: a reader takes it in cycles
    in which no product does.

    A sum is read, added to and written in three cycles; where a row has fewer words, what is under way is
    forwarded. No overflow: the width is the caller's promise, which simulations watch
    (:mod:`~egret_hw.overflow`).

    Parameters
    ----------
    product_bits, sum_bits : signed widths
    lanes : that share the tag
    slots, banks : accumulators of a lane in a bank, banks
    words : of a row; the same slot comes again after so many cycles at the earliest

    Members
    -------
    tag : In, :func:`~egret_hw.accumulator.tag_layout`, for the products `TAG_AHEAD` cycles later
    products : In
    reading, read_bank, read_slot : In, 1 = the read port is the reader's, and no tag is there
    sums : Out, the reader's, :data:`BLOCK_SUM_READ_LATENCY` cycles later
    """

    def __init__(self, *, product_bits: int, sum_bits: int, lanes: int, slots: int, banks: int, words: int):
        self.lanes = lanes
        self.sum_bits = sum_bits
        self.slots = slots
        self.banks = banks
        self.words = words
        super().__init__(
            {
                "tag": In(tag_layout(slots=slots, banks=banks)),
                "products": In(data.ArrayLayout(signed(product_bits), lanes)),
                "reading": In(1),
                "read_bank": In(index_shape(banks)),
                "read_slot": In(index_shape(slots)),
                "sums": Out(data.ArrayLayout(signed(sum_bits), lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = self.sums.shape()
        slot_bits = ceil_log2(self.slots)
        m.submodules.store = store = SumStore(
            width=layout.size, depth=self.banks << slot_bits if self.banks > 1 else self.slots
        )

        def address(slot, bank):
            return Cat(slot[:slot_bits], bank) if self.banks > 1 else slot

        # Cycles: the address, the sum read, the sum written.
        read_tag = pipe(m, self.tag, "read_tag")
        add = pipe(m, read_tag, "add")
        strobe = strobe_pipe(m, self.tag.strobe, "strobe", 2)
        old = Signal(layout, reset_less=True)
        new = Signal(layout)
        found = data.View(layout, store.data)
        known = found.as_value()
        if self.words < 3:  # the sum of two cycles before is not yet where it is read
            written, written_strobe = pipe(m, add, "written"), strobe_pipe(m, strobe, "written_strobe", 1)
            known = Mux(_same(written, read_tag) & written_strobe, pipe(m, new.as_value(), "late"), known)
        if self.words < 2:
            known = Mux(_same(add, read_tag) & strobe, new.as_value(), known)
        m.d.sync += old.as_value().eq(Mux(read_tag.first, 0, known))
        overflow = OverflowWatch()
        for lane in range(self.lanes):
            product = pipe(m, self.products[lane], f"product{lane}")
            total = overflow.fit(old[lane] + product, self.sum_bits, strobe)
            m.d.comb += [new[lane].eq(total), self.sums[lane].eq(found[lane])]
        overflow.drive(m)
        m.d.comb += [
            store.address.eq(
                Mux(
                    self.reading,
                    address(self.read_slot, self.read_bank),
                    address(self.tag.slot, self.tag.bank),
                )
            ),
            store.write_enable.eq(strobe),
            store.write_address.eq(address(add.slot, add.bank)),
            store.write_data.eq(new),
        ]
        return m


class SumStore(wiring.Component):
    """Memory whose only read register is its own: one cycle from `address` to `data`.

    A word written in cycle t is read with an `address` given in cycle t + 1 or later; what is read with the
    address of a write in the same cycle is undefined.
    """

    def __init__(self, *, width: int, depth: int):
        self.width = width
        self.depth = depth
        super().__init__(ram_members(unsigned(width), depth))

    def elaborate(self, platform):
        m = Module()
        if family_of(platform) == ICE40 and self.depth <= EBR_DEPTH:
            m.submodules.memory = part = Ebr(width=self.width, depth=self.depth, output_register=False)
            m.d.comb += [
                part.address.eq(self.address),
                part.write_enable.eq(self.write_enable),
                part.write_address.eq(self.write_address),
                part.write_data.eq(self.write_data),
                self.data.eq(part.data),
            ]
            return m
        m.submodules.memory = store = memory.Memory(shape=unsigned(self.width), depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        return m


def _same(one, other):
    """Whether two tags name one accumulator."""
    return (one.slot == other.slot) & (one.bank == other.bank)
