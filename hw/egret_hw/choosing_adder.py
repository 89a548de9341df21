"""A sum of one word and one of two others."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring

from .blocks import ecp5_adder
from .blocks.family import ECP5, family_of
from .blocks.ports import choosing_adder_members


class ChoosingAdder(wiring.Component):
    """`addend + (pick ? high : low)`, modulo `2 ** width`, without a register.

    Members
    -------
    addend, low, high : In, words
    pick : In, which of the two
    total : Out, the sum
    """

    def __init__(self, *, width: int):
        if width < 1:
            raise ValueError(f"width must be 1 or more, not {width!r}")
        self.width = width
        super().__init__(choosing_adder_members(width))

    def elaborate(self, platform):
        m = Module()
        if family_of(platform) != ECP5:
            m.d.comb += self.total.eq(self.addend + Mux(self.pick, self.high, self.low))
            return m
        m.submodules.cells = cells = ecp5_adder.ChoosingAdder(width=self.width)
        wiring.connect(m, wiring.flipped(self), cells)
        return m
