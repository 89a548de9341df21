"""A table of which half is kept, where the other half follows from it."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe
from .memory import READ_LATENCY, Rom


class HalfTable(wiring.Component):
    """Value of a signed index, from a table that is its own mirror image: value(-i) = mirror - value(i).

    The most negative index has no partner; it takes the next one's. A table without that symmetry is kept
    as a whole. The latency is that of :class:`~egret_hw.memory.Rom` in either case; the mirroring adds logic
    before and behind it.

    Parameters
    ----------
    contents : values from the most negative index on, a power of two of them
    shape : of a value
    mirror : of the symmetry

    Members
    -------
    index : In, signed
    value : Out
    """

    def __init__(self, *, contents: Sequence[int], shape: ShapeLike, mirror: int):
        self.contents = list(contents)
        self.mirror = mirror
        self.bits = (len(self.contents) - 1).bit_length()
        super().__init__({"index": In(signed(self.bits)), "value": Out(Shape.cast(shape))})

    @property
    def halved(self) -> bool:
        """Whether half of the table is enough."""
        middle = len(self.contents) // 2
        above = self.contents[middle:]
        pairs = zip(above[1:], self.contents[middle - 1 : 0 : -1], strict=True)
        symmetric = all(one + other == self.mirror for one, other in pairs)
        return symmetric and self.contents[0] == self.mirror - above[-1] and 2 * above[0] == self.mirror

    def elaborate(self, platform):
        m = Module()
        shape = self.value.shape()
        middle = len(self.contents) // 2
        if not self.halved:
            m.submodules.rom = rom = Rom(shape=shape, contents=self.contents)
            m.d.comb += [rom.address0.eq(self.index ^ middle), self.value.eq(rom.data0)]
            return m
        m.submodules.rom = rom = Rom(shape=shape, contents=self.contents[middle:])
        negative = self.index < 0
        magnitude = Signal(self.bits)
        m.d.comb += [
            magnitude.eq(Mux(negative, -self.index, self.index)),
            rom.address0.eq(Mux(magnitude[-1], middle - 1, magnitude)),
            self.value.eq(
                Mux(pipe(m, negative, "negative", READ_LATENCY), self.mirror - rom.data0, rom.data0)
            ),
        ]
        return m
