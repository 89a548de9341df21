"""Fixed-point helpers on Amaranth values, as docs/numerics.md defines them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value


def saturate(value: Value, bits: int) -> Value:
    """Signed `value` limited to `bits` bits, signed: sat_s of the numerics."""
    width = len(value)
    if width <= bits:
        return value.as_signed()
    sign = value[-1]
    overflow = value[bits - 1 :] != sign.replicate(width - bits + 1)
    limit = Cat((~sign).replicate(bits - 1), sign)
    return Mux(overflow, limit, value[:bits]).as_signed()


def half(shift: int) -> int:
    """What is added before an arithmetic right shift by `shift` so that it rounds half up."""
    return 1 << (shift - 1) if shift > 0 else 0


def times(value: Value, factor: int) -> Value:
    """Unsigned `value * factor`, factor >= 1, as shifts and adds, since an address is not worth a block."""
    terms = [value.shift_left(bit) for bit in range(factor.bit_length()) if factor >> bit & 1]
    total = terms[0]
    for term in terms[1:]:
        total = (total + term)[: len(value) + factor.bit_length()]
    return total


def pipe(m: Module, value: Value, name: str, stages: int = 1) -> Signal:
    """`value`, `stages` cycles later, in data-path registers without reset."""
    for stage in range(stages):
        register = Signal(value.shape(), name=name if stages == 1 else f"{name}_{stage + 1}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


def strobe_pipe(m: Module, strobe: Value, name: str, stages: int) -> Signal:
    """A control strobe, `stages` cycles later, cleared by reset."""
    for stage in range(stages):
        register = Signal(name=name if stages == 1 else f"{name}_{stage + 1}")
        m.d.sync += register.eq(strobe)
        strobe = register
    return strobe
