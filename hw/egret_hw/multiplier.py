"""Portable signed multiplier with all of its pipeline registers."""

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe

MULTIPLY_LATENCY = 3
"""Cycles from the operands to the product: input, pipeline and output register."""


class Multiplier(wiring.Component):
    """Exact product of two signed numbers.

    Latency: :data:`MULTIPLY_LATENCY` cycles; throughput: one product per cycle. No rounding, no overflow.

    Members
    -------
    a : In, signed, `a_bits`
    b : In, signed, `b_bits`
    product : Out, signed, `a_bits + b_bits`
    """

    def __init__(self, *, a_bits: int, b_bits: int):
        super().__init__(
            {"a": In(signed(a_bits)), "b": In(signed(b_bits)), "product": Out(signed(a_bits + b_bits))}
        )

    def elaborate(self, platform):
        m = Module()
        a, b = pipe(m, self.a, "a_in"), pipe(m, self.b, "b_in")
        m.d.comb += self.product.eq(pipe(m, pipe(m, a * b, "pipeline"), "output"))
        return m
