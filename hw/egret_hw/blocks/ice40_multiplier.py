"""iCE40 UltraPlus: the 16 x 16 multiplier SB_MAC16 with its own registers, also as two 8 x 8 multipliers.

Synthesis must not get Yosys's option `-dsp`: its pass takes each SB_MAC16 that it finds for one of its own
making, and sets the registers and modes anew.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arithmetic import pipe

OPERAND_BITS = 16
"""Bits of a signed operand of SB_MAC16; the second may have one more."""

PAIR_WEIGHT_BITS = 8
"""Bits of a signed weight where one SB_MAC16 makes two products."""

PAIR_VALUE_BITS = 9
"""Bits of a signed value there: eight bits of magnitude and the sign."""


class Mac16(wiring.Component):
    """One SB_MAC16: exact product of a signed number of up to 16 bits and one of up to 17.

    Latency: 3 cycles, or 2 without the register behind the partial products; throughput: one product per
    cycle.

    A 17th bit of `b` takes the block's adder. With b = 2 * c + 1, a * b = 2 * (a * c + (a >> 1)) + (a & 1).

    Members
    -------
    a : In, signed, `a_bits`
    b : In, signed, `b_bits`
    product : Out, signed, `a_bits + b_bits`
    """

    def __init__(self, *, a_bits: int, b_bits: int, pipeline: bool = True):
        for name, bits, most in (
            ("a_bits", a_bits, OPERAND_BITS),
            ("b_bits", b_bits, OPERAND_BITS + pipeline),
        ):
            if not 1 <= bits <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {bits!r}")
        self.pipeline = pipeline
        super().__init__(
            {"a": In(signed(a_bits)), "b": In(signed(b_bits)), "product": Out(signed(a_bits + b_bits))}
        )

    def elaborate(self, platform):
        m = Module()
        adds = len(self.b) > OPERAND_BITS
        result = Signal(signed(32))
        # Operand registers, then the partial products, then their sum: in the multiplier's last register, or
        # with the added half in the register behind the adder.
        parameters = dict(
            p_A_REG=1,
            p_B_REG=1,
            p_C_REG=int(adds),
            p_D_REG=int(adds),
            p_TOP_8x8_MULT_REG=int(self.pipeline),
            p_BOT_8x8_MULT_REG=int(self.pipeline),
            p_PIPELINE_16x16_MULT_REG1=int(self.pipeline),
            p_PIPELINE_16x16_MULT_REG2=int(not adds),
            p_TOPOUTPUT_SELECT=1 if adds else 3,
            p_BOTOUTPUT_SELECT=1 if adds else 3,
            p_TOPADDSUB_LOWERINPUT=2,
            p_BOTADDSUB_LOWERINPUT=2,
            p_TOPADDSUB_UPPERINPUT=1,
            p_BOTADDSUB_UPPERINPUT=1,
            p_TOPADDSUB_CARRYSELECT=2,
            p_MODE_8x8=0,
            p_A_SIGNED=1,
            p_B_SIGNED=1,
        )
        a = Signal(signed(OPERAND_BITS))
        b = Signal(signed(OPERAND_BITS))
        m.d.comb += a.eq(self.a)
        if adds:
            m.d.comb += b.eq(self.b >> 1)
            # One register here and one in the block, so that the half meets the partial products.
            half = pipe(m, Mux(self.b[0], self.a >> 1, 0).as_signed(), "half")
            added = Signal(signed(32))
            m.d.comb += added.eq(half)
            lowest = pipe(m, self.a[0] & self.b[0], "lowest", 3)
            m.d.comb += self.product.eq(Cat(lowest, result).as_signed())
        else:
            added = Const(0, 32)
            m.d.comb += [b.eq(self.b), self.product.eq(result)]
        m.submodules.sb_mac16 = _mac16(a, b, result, added=added, subtract=Const(0), **parameters)
        return m


class PairMac16(wiring.Component):
    """One SB_MAC16 as two 8 x 8 multipliers: two signed weights times one signed value.

    The block multiplies by the magnitude of the value; its adder, which can subtract from zero, gives the
    product its sign. So the value is -255 to 255.

    Latency: 3 cycles; throughput: two products per cycle.

    Members
    -------
    weight0, weight1 : In, signed, `weight_bits`
    value : In, signed, `value_bits`, not -256
    product0, product1 : Out, signed, `weight_bits + value_bits`
    """

    def __init__(self, *, weight_bits: int, value_bits: int):
        for name, bits, most in (
            ("weight_bits", weight_bits, PAIR_WEIGHT_BITS),
            ("value_bits", value_bits, PAIR_VALUE_BITS),
        ):
            if not 1 <= bits <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {bits!r}")
        super().__init__(
            {
                "weight0": In(signed(weight_bits)),
                "weight1": In(signed(weight_bits)),
                "value": In(signed(value_bits)),
                "product0": Out(signed(weight_bits + value_bits)),
                "product1": Out(signed(weight_bits + value_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        weights = [Signal(signed(8), name=f"extended{number}") for number in range(2)]
        magnitude = Signal(8)
        result = Signal(32)
        negative = self.value < 0
        m.d.comb += [
            weights[0].eq(self.weight0),
            weights[1].eq(self.weight1),
            magnitude.eq(Mux(negative, -self.value, self.value)),
            self.product0.eq(result[:16].as_signed()),
            self.product1.eq(result[16:].as_signed()),
        ]
        # The adders' direction has no register in the block: two here, and the third is the block's output.
        m.submodules.sb_mac16 = _mac16(
            Cat(weights[0], weights[1]),
            Cat(magnitude, magnitude),
            result,
            added=Const(0, 32),
            subtract=pipe(m, negative, "negative", 2),
            p_A_REG=1,
            p_B_REG=1,
            p_TOP_8x8_MULT_REG=1,
            p_BOT_8x8_MULT_REG=1,
            p_TOPOUTPUT_SELECT=1,
            p_BOTOUTPUT_SELECT=1,
            p_TOPADDSUB_LOWERINPUT=1,
            p_BOTADDSUB_LOWERINPUT=1,
            p_TOPADDSUB_UPPERINPUT=1,
            p_BOTADDSUB_UPPERINPUT=1,
            p_MODE_8x8=1,
            p_A_SIGNED=1,
            p_B_SIGNED=0,
        )
        return m


def _mac16(
    a: Value, b: Value, result: Signal, *, added: Value, subtract: Value, **parameters: int
) -> Instance:
    """One SB_MAC16 whose adders add `added` to the product, or subtract the product from it."""
    pins = [f"{register}HOLD" for register in "ABCD"] + ["CI", "ACCUMCI", "SIGNEXTIN"]
    pins += [f"{name}{half}" for name in ("IRST", "ORST", "OLOAD", "OHOLD") for half in ("TOP", "BOT")]
    widths = {"SELECT": 2, "LOWERINPUT": 2}
    sized = {
        name: Const(value, next((bits for end, bits in widths.items() if name.endswith(end)), 1))
        for name, value in parameters.items()
    }
    return Instance(
        "SB_MAC16",
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_A=a,
        i_B=b,
        i_C=added[16:],
        i_D=added[:16],
        i_ADDSUBTOP=subtract,
        i_ADDSUBBOT=subtract,
        o_O=result,
        **{f"i_{pin}": Const(0) for pin in pins},
        **sized,
    )
