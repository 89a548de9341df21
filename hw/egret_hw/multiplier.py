"""Portable signed multipliers with all of their pipeline registers.

Every product of the design goes through here, so that a family's own block can take its place with the same
latency.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe
from .blocks import ecp5_multiplier, ice40_multiplier
from .blocks.ecp5_multiplier import Mult18x18
from .blocks.family import ECP5, ICE40, family_of
from .blocks.ice40_multiplier import Mac16, PairMac16

MULTIPLY_LATENCY = 3
"""Cycles from the operands to the product: input, pipeline and output register."""


class Multiplier(wiring.Component):
    """Exact product of two signed numbers.

    Latency: :data:`MULTIPLY_LATENCY` cycles; throughput: one product per cycle. No rounding, no overflow.

    On ECP5, operands of up to 18 bits take one MULT18X18D, on iCE40 UltraPlus those of up to 16 and 17 bits
    take one SB_MAC16. If the wider one has up to 35 or 31 bits, it is cut in two limbs and takes two blocks.
    Anything wider, and everything elsewhere, is left to synthesis.

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
        family = family_of(platform)
        narrow, wide = sorted((self.a, self.b), key=len)
        most = {ECP5: ecp5_multiplier.OPERAND_BITS, ICE40: ice40_multiplier.OPERAND_BITS}.get(family, 0)
        # The adder of an SB_MAC16 takes one bit more.
        alone = most + (family == ICE40)
        if len(narrow) <= most and len(wide) <= alone:
            m.d.comb += self.product.eq(_block(m, family, "block", narrow, wide, pipeline=True))
        elif len(narrow) <= most and len(wide) <= 2 * most - 1:
            # The lower limb is unsigned, so a zero stands above it. The sum is the third register.
            limb = most - 1
            low = _block(m, family, "low", narrow, Cat(wide[:limb], Const(0, 1)).as_signed(), pipeline=False)
            high = _block(m, family, "high", narrow, wide[limb:].as_signed(), pipeline=False)
            upper = pipe(m, high + (low >> limb), "upper")
            m.d.comb += self.product.eq(Cat(pipe(m, low[:limb], "lower"), upper).as_signed())
        else:
            m.d.comb += self.product.eq(_inferred(m, self.a, self.b, stages=MULTIPLY_LATENCY))
        return m


class PairMultiplier(wiring.Component):
    """Exact products of two signed weights with one signed value.

    Where `2 * weight_bits + value_bits` is 17 or less, as with 4-bit weights and 9-bit values, both products
    come from one multiplier of 18 x 18: the weights are packed as `weight1 * 2**s + weight0`, with s wide
    enough for a product. A negative lower product takes one from the upper one, which the last stage gives
    back. On iCE40 UltraPlus, one SB_MAC16 serves both weights of up to 8 bits. Otherwise there are two
    multipliers.

    Latency: :data:`MULTIPLY_LATENCY` cycles; throughput: two products per cycle. No rounding, no overflow.

    Members
    -------
    weight0, weight1 : In, signed, `weight_bits`
    value : In, signed, `value_bits`; with 9 bits not -256, which no event has and SB_MAC16 cannot take
    product0, product1 : Out, signed, `weight_bits + value_bits`
    """

    def __init__(self, *, weight_bits: int, value_bits: int):
        self.weight_bits = weight_bits
        self.value_bits = value_bits
        super().__init__(
            {
                "weight0": In(signed(weight_bits)),
                "weight1": In(signed(weight_bits)),
                "value": In(signed(value_bits)),
                "product0": Out(signed(weight_bits + value_bits)),
                "product1": Out(signed(weight_bits + value_bits)),
            }
        )

    @staticmethod
    def shares(*, weight_bits: int, value_bits: int, compact: bool = False) -> bool:
        """Whether both products come from one 18 x 18 multiplier, or, if compact, from one SB_MAC16."""
        if compact and PairMultiplier.fits_mac16(weight_bits=weight_bits, value_bits=value_bits):
            return True
        return 2 * weight_bits + value_bits < ecp5_multiplier.OPERAND_BITS

    @staticmethod
    def fits_mac16(*, weight_bits: int, value_bits: int) -> bool:
        """Whether both products come from one SB_MAC16."""
        return (
            weight_bits <= ice40_multiplier.PAIR_WEIGHT_BITS
            and value_bits <= ice40_multiplier.PAIR_VALUE_BITS
        )

    def elaborate(self, platform):
        m = Module()
        family = family_of(platform)
        fits_mac16 = self.fits_mac16(weight_bits=self.weight_bits, value_bits=self.value_bits)
        if family == ICE40 and fits_mac16:
            m.submodules.block = block = PairMac16(weight_bits=self.weight_bits, value_bits=self.value_bits)
            wiring.connect(m, wiring.flipped(self), block)
        elif family != ICE40 and self.shares(weight_bits=self.weight_bits, value_bits=self.value_bits):
            self._packed(m, family)
        else:
            for number in range(2):
                m.submodules[f"multiplier{number}"] = single = Multiplier(
                    a_bits=self.weight_bits, b_bits=self.value_bits
                )
                m.d.comb += [
                    single.a.eq(getattr(self, f"weight{number}")),
                    single.b.eq(self.value),
                    getattr(self, f"product{number}").eq(single.product),
                ]
        return m

    def _packed(self, m: Module, family: str) -> None:
        """Both products from one multiplier."""
        shift = self.weight_bits + self.value_bits
        # A negative lower weight takes one from the upper one. That is written out bit by bit, because a
        # carry chain in front of the multiplier costs more time.
        borrow, upper_weight = self.weight0[-1], []
        for bit in (*self.weight1, self.weight1[-1]):
            upper_weight.append(bit ^ borrow)
            borrow = borrow & ~bit
        lower_weight = Signal(signed(shift))
        packed = Cat(lower_weight, *upper_weight).as_signed()
        m.d.comb += lower_weight.eq(self.weight0)
        if family == ECP5:
            both = _block(m, family, "block", self.value, packed, pipeline=False)
        else:
            both = _inferred(m, self.value, packed, stages=MULTIPLY_LATENCY - 1)
        lower = both[:shift].as_signed()
        upper = both[shift:].as_signed()
        m.d.comb += [
            self.product0.eq(pipe(m, lower, "lower")),
            self.product1.eq(pipe(m, (upper + (lower < 0))[:shift].as_signed(), "upper")),
        ]


def _block(m: Module, family: str, name: str, a: Value, b: Value, *, pipeline: bool) -> Value:
    """Product of `a` and `b` from one block of the family, a cycle earlier without the pipeline register."""
    kind = Mult18x18 if family == ECP5 else Mac16
    m.submodules[name] = block = kind(a_bits=len(a), b_bits=len(b), pipeline=pipeline)
    m.d.comb += [block.a.eq(a), block.b.eq(b)]
    return block.product


def _inferred(m: Module, a: Value, b: Value, *, stages: int) -> Value:
    """Product of `a` and `b` behind registers that synthesis may take into a multiplier."""
    product = pipe(m, a, "a_in") * pipe(m, b, "b_in")
    for name in ("pipeline", "output")[3 - stages :]:
        product = pipe(m, product, name)
    return product
