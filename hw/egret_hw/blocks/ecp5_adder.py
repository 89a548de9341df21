"""ECP5: an adder whose tables choose one operand as well."""

from amaranth.hdl import Cat, Const, Instance, Module, Signal
from amaranth.lib import wiring

from .ports import choosing_adder_members

#: Of inputs D, C, B, A: A ^ (D ? B : C). Where D and C are 0 it is A, which is also what the cell carries on
#: when the two operands are equal.
_ADD = 0x665A


class ChoosingAdder(wiring.Component):
    """`addend + (pick ? high : low)`, modulo `2 ** width`: one carry cell for two bits.

    Synthesis puts the choice into tables of its own, before the carry cells.

    Members
    -------
    addend, low, high : In, words
    pick : In, which of the two
    total : Out, the sum
    """

    def __init__(self, *, width: int):
        self.width = width
        super().__init__(choosing_adder_members(width))

    def elaborate(self, platform):
        m = Module()
        # An odd last bit has a neighbour of zeros.
        addend, low, high = (Cat(word, Const(0, 1)) for word in (self.addend, self.low, self.high))
        carry = Const(0, 1)
        for bit in range(0, self.width, 2):
            total, above = Signal(2, name=f"total{bit}"), Signal(name=f"carry{bit + 2}")
            halves: dict[str, object] = {}
            for half in range(2):
                halves |= {
                    f"p_INIT{half}": Const(_ADD, 16),
                    f"p_INJECT1_{half}": "NO",
                    f"i_A{half}": addend[bit + half],
                    f"i_B{half}": high[bit + half],
                    f"i_C{half}": low[bit + half],
                    f"i_D{half}": self.pick,
                    f"o_S{half}": total[half],
                }
            m.submodules[f"bit{bit}"] = Instance("CCU2C", i_CIN=carry, o_COUT=above, **halves)
            m.d.comb += self.total[bit : bit + 2].eq(total)
            carry = above
        return m
