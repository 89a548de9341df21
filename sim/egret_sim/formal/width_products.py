"""Multipliers give products, and a product of a gate lies where the update's proofs take it to lie."""

from amaranth.hdl import Assert, Module, Mux

from egret_hw.arithmetic import pipe
from egret_hw.multiplier import MULTIPLY_LATENCY, Multiplier, PairMultiplier

from .checker import drive
from .page import within
from .proof import Build


def products(*, a_bits: int, b_bits: int) -> Build:
    """The product of any two numbers, three cycles later.

    Of a number that is not negative, as a gate is, and any other one it lies between zero and the other one
    times the largest of such numbers.
    """

    def build(m: Module) -> None:
        m.submodules.dut = dut = Multiplier(a_bits=a_bits, b_bits=b_bits)
        drive(m, dut)
        a, b = pipe(m, dut.a, "a", MULTIPLY_LATENCY), pipe(m, dut.b, "b", MULTIPLY_LATENCY)
        most = (b << (a_bits - 1)) - b
        low, high = Mux(b < 0, most, 0), Mux(b < 0, 0, most)
        m.d.comb += [Assert(dut.product == a * b), Assert((a < 0) | within(dut.product, low, high))]

    return build


def pairs_of_products(*, weight_bits: int, value_bits: int) -> Build:
    """The products of two weights with one value, three cycles later."""

    def build(m: Module) -> None:
        m.submodules.dut = dut = PairMultiplier(weight_bits=weight_bits, value_bits=value_bits)
        drive(m, dut)
        value = pipe(m, dut.value, "value", MULTIPLY_LATENCY)
        for number in range(2):
            weight = pipe(m, getattr(dut, f"weight{number}"), f"weight{number}", MULTIPLY_LATENCY)
            m.d.comb += Assert(getattr(dut, f"product{number}") == weight * value)

    return build
