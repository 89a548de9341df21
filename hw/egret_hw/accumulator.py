"""The sums of one lane."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe, strobe_pipe
from .stream import index_shape

TAG_AHEAD = 2
"""Cycles by which a product's tag comes before the product."""

SUM_LATENCY = 0
"""Cycles from a product until a read of its sum may be asked for."""

SUM_READ_LATENCY = 2
"""Cycles from `read_slot` to `sum`."""


def tag_layout(*, slots: int, banks: int) -> data.StructLayout:
    """Where a product goes.

    Members
    -------
    strobe : 1 = there is a product
    slot, bank : its accumulator
    first : 1 = it replaces what is there
    """
    return data.StructLayout(
        {"strobe": 1, "slot": index_shape(slots), "bank": index_shape(banks), "first": 1}
    )


class Accumulator(wiring.Component):
    """Adds products into banks of sums, one per cycle.

    Each bank is a distributed memory with one address to read: products use it, or a reader. The reader and
    products must be in different banks. A sum is read, added to and written in two cycles, so the same slot
    comes again after
    two cycles at the earliest, or next to itself if `forward` is set.

    Latency: see :data:`TAG_AHEAD`, :data:`SUM_LATENCY`, :data:`SUM_READ_LATENCY`. No overflow: the width is
    the caller's promise.

    Parameters
    ----------
    product_bits, sum_bits : signed widths
    slots, banks : accumulators of a bank, banks
    forward : whether one slot may come in two cycles in a row

    Members
    -------
    tag : In, :func:`tag_layout`, for the product `TAG_AHEAD` cycles later
    product : In
    reading, read_bank, read_slot : In, 1 = that bank belongs to the reader; which accumulator to read
    sum : Out, its value, `SUM_READ_LATENCY` cycles later
    """

    def __init__(self, *, product_bits: int, sum_bits: int, slots: int, banks: int, forward: bool):
        self.sum_bits = sum_bits
        self.slots = slots
        self.banks = banks
        self.forward = forward
        self.tag_layout = tag_layout(slots=slots, banks=banks)
        super().__init__(
            {
                "tag": In(self.tag_layout),
                "product": In(signed(product_bits)),
                "reading": In(1),
                "read_bank": In(index_shape(banks)),
                "read_slot": In(index_shape(slots)),
                "sum": Out(signed(sum_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Three cycles: the address register, the sum read, the sum written.
        read_tag = pipe(m, self.tag, "read_tag")
        strobe = strobe_pipe(m, self.tag.strobe, "strobe", TAG_AHEAD)
        add = pipe(m, read_tag, "add")
        picked_bank = pipe(m, self.read_bank, "picked_bank")

        old = Signal(signed(self.sum_bits), reset_less=True)
        new = Signal(signed(self.sum_bits))
        m.d.comb += new.eq(old + self.product)

        stored = []
        for bank in range(self.banks):
            # Distributed memory: a block memory could not be read without its own register.
            sums = memory.Memory(
                shape=signed(self.sum_bits), depth=self.slots, init=[], attrs={"ram_style": "distributed"}
            )
            m.submodules[f"bank{bank}"] = sums
            write, read = sums.write_port(), sums.read_port(domain="comb")
            address = Signal(index_shape(self.slots), name=f"address{bank}", reset_less=True)
            m.d.sync += address.eq(
                Mux(self.reading & (self.read_bank == bank), self.read_slot, self.tag.slot)
            )
            m.d.comb += [
                write.en.eq(strobe & (add.bank == bank)),
                write.addr.eq(add.slot),
                write.data.eq(new),
                read.addr.eq(address),
            ]
            stored.append(read.data)

        stored = Array(stored)
        current = stored[read_tag.bank]
        if self.forward:
            again = strobe & (add.slot == read_tag.slot) & (add.bank == read_tag.bank)
            current = Mux(again, new, current)
        m.d.sync += old.eq(Mux(read_tag.first, 0, current))
        m.d.sync += self.sum.eq(stored[picked_bank])
        return m
