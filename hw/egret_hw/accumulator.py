"""The sums of one lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .arithmetic import pipe, strobe_pipe
from .choosing_adder import ChoosingAdder
from .overflow import OverflowWatch
from .protection import SumWatch, active_guard
from .selector import Selector
from .stream import index_shape

TAG_AHEAD = 1
"""Cycles by which a product's tag comes before the product."""

SUM_LATENCY = 1
"""Cycles from a product until a reader may ask for its sum."""

SUM_READ_LATENCY = 2
"""Cycles from `read_slot` to `sum`."""

_PART_BITS = 4
PART_DEPTH = 1 << _PART_BITS
"""Words of one distributed memory."""


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
    comes again after two cycles at the earliest, or next to itself if `forward` is set.

    Latency: see :data:`TAG_AHEAD`, :data:`SUM_LATENCY`, :data:`SUM_READ_LATENCY`. No overflow: the width is
    the caller's promise, which simulations watch (:mod:`~egret_hw.overflow`).

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
        # Three cycles: the address register, the sum read, the sum written. The product has a register here,
        # since it may come a long way.
        read_tag = pipe(m, self.tag, "read_tag")
        strobe = strobe_pipe(m, self.tag.strobe, "strobe", 2)
        add = pipe(m, read_tag, "add")
        picked_bank = pipe(m, self.read_bank, "picked_bank")

        # What is read of the first bank (and each second one after it), and of the others. The adder chooses.
        olds = [Signal(self.sum_bits, name=f"old{half}", reset_less=True) for half in range(2)]
        odd = Signal(reset_less=True)
        new = Signal(self.sum_bits)
        m.submodules.adder = adder = ChoosingAdder(width=self.sum_bits)
        product = pipe(m, self.product, "product_late")
        m.d.comb += [
            adder.addend.eq(product),
            adder.low.eq(olds[0]),
            adder.high.eq(olds[1]),
            adder.pick.eq(odd),
            new.eq(adder.total),
        ]
        overflow = OverflowWatch()
        overflow.check(product + Mux(odd, olds[1], olds[0]).as_signed(), new.as_signed(), strobe)
        overflow.drive(m)

        # Distributed memory: a block memory could not be read without its own register. Its primitives hold
        # 16 words, and what lies in which of them is chosen together with the bank.
        parts = -(-self.slots // PART_DEPTH)
        aligned = 1 << ceil_log2(parts)
        stored = []
        watch = SumWatch(new)
        for bank in range(self.banks):
            address = Signal(index_shape(self.slots), name=f"address{bank}", reset_less=True)
            m.d.sync += address.eq(
                Mux(self.reading & (self.read_bank == bank), self.read_slot, self.tag.slot)
            )
            for part in range(parts):
                sums = memory.Memory(
                    shape=unsigned(self.sum_bits),
                    depth=PART_DEPTH,
                    init=[],
                    attrs={"ram_style": "distributed"},
                )
                m.submodules[f"bank{bank}_part{part}"] = sums
                write, read = sums.write_port(), sums.read_port(domain="comb")
                m.d.comb += [
                    write.en.eq(strobe & (add.bank == bank) & (add.slot[_PART_BITS:] == part)),
                    write.addr.eq(add.slot[:_PART_BITS]),
                    write.data.eq(new),
                    read.addr.eq(address[:_PART_BITS]),
                ]
                stored.append(read.data)
                watch.memories.append((write.en, write.addr, read.addr))
            watch.memories += [(None, None, None)] * (aligned - parts)
            stored += [Const(0, self.sum_bits)] * (aligned - parts)

        picked_slot = pipe(m, self.read_slot, "picked_slot")
        m.submodules.picked = picked = Selector(width=self.sum_bits, count=len(stored))
        picked_index = Cat(picked_slot[_PART_BITS:][: ceil_log2(parts)], picked_bank)
        m.d.comb += [picked.choices.eq(Cat(stored)), picked.index.eq(picked_index), picked.enable.eq(1)]
        m.d.sync += self.sum.eq(picked.chosen)

        bank = read_tag.bank
        again = strobe & (add.slot == read_tag.slot) & (add.bank == bank) if self.forward else Const(0, 1)
        for half, old in enumerate(olds[: self.banks]):
            groups = range(half, self.banks, 2)
            words = [stored[group * aligned + part] for group in groups for part in range(aligned)]
            m.submodules[f"current{half}"] = current = Selector(width=self.sum_bits, count=len(words))
            m.d.comb += [
                current.choices.eq(Cat(words)),
                current.index.eq(Cat(read_tag.slot[_PART_BITS:][: ceil_log2(parts)], bank[1:])),
                current.enable.eq(~read_tag.first),
            ]
            if half == 0 and self.forward:  # what is being written goes to the first one, whatever its bank
                m.d.sync += old.eq(Mux(again & ~read_tag.first, new, current.chosen))
            else:
                m.d.sync += old.eq(current.chosen)
        m.d.sync += odd.eq(bank[:1] & ~again)
        if guard := active_guard():
            used = strobe & ~add.first
            if self.forward:
                used &= ~pipe(m, again, "again_late")
            answered = strobe_pipe(m, self.reading, "answered", SUM_READ_LATENCY)
            current_index = Cat(read_tag.slot[_PART_BITS:][: ceil_log2(parts)], bank)
            watch.checks = [
                ("current", Mux(odd, olds[1], olds[0]), pipe(m, current_index, "current_late"), used),
                ("picked", self.sum, pipe(m, picked_index, "picked_late"), answered),
            ]
            guard.sums(m, watch)
        return m
