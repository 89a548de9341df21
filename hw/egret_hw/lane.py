"""One lane: a multiplier and the accumulators that its products go to."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe, strobe_pipe
from .multiplier import MULTIPLY_LATENCY, Multiplier
from .stream import index_shape

SUM_LATENCY = MULTIPLY_LATENCY + 1
"""Cycles from the weight until the sum with its product can be addressed by `read_slot`."""


class Lane(wiring.Component):
    """Multiplies weights with event values and adds the products into sets of accumulators.

    Accumulators lie in distributed memory. A sum is read, added to and written in two cycles; where one slot may come
    twice in a row (rows of one word) the sum in flight is forwarded.

    Latency: :data:`SUM_LATENCY` cycles from `weight` and the tag beside it to the readable sum; one cycle from `read_slot`
    to `sums`. Throughput: one product per cycle. No overflow: the widths are the caller's promise.

    Parameters
    ----------
    weight_bits, value_bits : signed operands
    sum_bits : width of each set's accumulators, signed
    slots : accumulators in each set
    forward : whether one slot may be used in two cycles in a row

    Members
    -------
    strobe : In, 1 = a product is to be added
    weight, value : In, its factors
    slot, set, first : In, where it goes, and whether it replaces what is there
    read_slot : In, accumulator to read in all sets
    sums : Out, its value in each set, one cycle later
    """

    def __init__(self, *, weight_bits: int, value_bits: int, sum_bits: Sequence[int], slots: int, forward: bool):
        self.weight_bits = weight_bits
        self.value_bits = value_bits
        self.sum_bits = tuple(sum_bits)
        self.slots = slots
        self.forward = forward
        sets = len(self.sum_bits)
        super().__init__(
            {
                "strobe": In(1),
                "weight": In(signed(weight_bits)),
                "value": In(signed(value_bits)),
                "slot": In(index_shape(slots)),
                "set": In(index_shape(sets)),
                "first": In(1),
                "read_slot": In(index_shape(slots)),
                "sums": Out(data.StructLayout({f"set{n}": signed(bits) for n, bits in enumerate(self.sum_bits)})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(a_bits=self.weight_bits, b_bits=self.value_bits)
        m.d.comb += [multiplier.a.eq(self.weight), multiplier.b.eq(self.value)]

        # The sum is read so that it meets its product at the multiplier's output.
        before = MULTIPLY_LATENCY - 1
        strobe = strobe_pipe(m, self.strobe, "strobe", before)
        slot = pipe(m, self.slot, "slot", before)
        set_ = pipe(m, self.set, "set", before)
        first = pipe(m, self.first, "first", before)
        add = strobe_pipe(m, strobe, "add", 1)
        add_slot = pipe(m, slot, "add_slot")
        add_set = pipe(m, set_, "add_set")

        old = Signal(signed(max(self.sum_bits)), reset_less=True)
        new = Signal(signed(max(self.sum_bits)))
        m.d.comb += new.eq(old + multiplier.product)

        stored = []
        for number, bits in enumerate(self.sum_bits):
            # Distributed memory: a block memory could not be read without its own register.
            sums = memory.Memory(
                shape=signed(bits), depth=self.slots, init=[], attrs={"ram_style": "distributed"}
            )
            m.submodules[f"sums{number}"] = sums
            write, own, update = sums.write_port(), sums.read_port(domain="comb"), sums.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(add & (add_set == number)),
                write.addr.eq(add_slot),
                write.data.eq(new),
                own.addr.eq(slot),
                update.addr.eq(self.read_slot),
            ]
            m.d.sync += self.sums[f"set{number}"].eq(update.data)
            stored.append(own.data)

        current = Mux(set_, stored[1], stored[0]) if len(stored) > 1 else stored[0]
        if self.forward:
            current = Mux(add & (add_slot == slot) & (add_set == set_), new, current)
        m.d.sync += old.eq(Mux(first, 0, current))
        return m


