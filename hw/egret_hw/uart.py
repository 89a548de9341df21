"""Asynchronous serial port, 8 data bits, no parity, one stop bit, as byte streams."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

_DATA_BITS = 8


def _checked_divisor(divisor: int) -> int:
    if not isinstance(divisor, int) or isinstance(divisor, bool):
        raise TypeError(f"divisor must be an integer, not {divisor!r}")
    if divisor < 4:
        raise ValueError(f"divisor must be at least 4 clock cycles per bit, not {divisor!r}")
    return divisor


def divisor_for(*, clock_hz: int, baud: int) -> int:
    """Clock cycles per bit, rounded to the nearest.

    Raises
    ------
    ValueError
        If the rounded rate is more than 2 % away from ``baud``: the last bit of a byte would then
        be sampled too near its edge.
    """
    divisor = max(1, round(clock_hz / baud))
    error = abs(clock_hz / divisor - baud) / baud
    if divisor < 4 or error > 0.02:
        raise ValueError(
            f"baud must be within 2 % of the clock divided by a whole number of at least 4: "
            f"{baud} baud cannot be made from {clock_hz} Hz"
        )
    return divisor


class UARTReceiver(wiring.Component):
    """Serial line to bytes.

    Each bit is sampled once, in its middle. A byte that is complete while the one before it has not
    been taken is lost, and ``overflow`` says so; a stop bit that reads low drops the byte.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    line : In(1)
        The serial line, idle high; it is synchronised here.
    bytes : Out(stream.Signature(8))
        One transfer per received byte.
    overflow : Out(1)
        High for one cycle when a byte was lost.
    framing_error : Out(1)
        High for one cycle when a stop bit read low.
    """

    line: In(1, init=1)
    bytes: Out(stream.Signature(_DATA_BITS))
    overflow: Out(1)
    framing_error: Out(1)

    def __init__(self, *, divisor: int) -> None:
        self.divisor = _checked_divisor(divisor)
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()

        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, line, init=1)

        timer = Signal(range(self.divisor))
        # Start bit, data bits, stop bit: counted down, 0 is idle.
        bits_left = Signal(range(_DATA_BITS + 3))
        shift = Signal(_DATA_BITS)
        was_high = Signal()
        m.d.sync += was_high.eq(line)

        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)

        with m.If(bits_left == 0):
            # Only a falling edge starts a byte, so that a line held low is one framing error, not many.
            with m.If(was_high & ~line):
                m.d.sync += [bits_left.eq(_DATA_BITS + 2), timer.eq(self.divisor // 2 - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self.divisor - 1), bits_left.eq(bits_left - 1)]
            with m.If(bits_left == _DATA_BITS + 2):
                with m.If(line):  # a glitch, not a start bit
                    m.d.sync += bits_left.eq(0)
            with m.Elif(bits_left == 1):
                with m.If(~line):
                    m.d.comb += self.framing_error.eq(1)
                with m.Elif(self.bytes.valid & ~self.bytes.ready):
                    m.d.comb += self.overflow.eq(1)
                with m.Else():
                    m.d.sync += [self.bytes.payload.eq(shift), self.bytes.valid.eq(1)]
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))

        return m


class UARTTransmitter(wiring.Component):
    """Bytes to serial line.

    A byte takes 10 x ``divisor`` cycles; the next start bit may follow the stop bit at once.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    bytes : In(stream.Signature(8))
        One transfer per byte to send.
    line : Out(1)
        The serial line, idle high.
    """

    bytes: In(stream.Signature(_DATA_BITS))
    line: Out(1, init=1)

    def __init__(self, *, divisor: int) -> None:
        self.divisor = _checked_divisor(divisor)
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()

        timer = Signal(range(self.divisor))
        bits_left = Signal(range(_DATA_BITS + 3))
        # The bits still to send, next one lowest; ones behind it are stop bit and idle line.
        shift = Signal(_DATA_BITS + 1, init=-1)
        # A flip-flop drives the pin, so that the line never glitches.
        m.d.sync += self.line.eq(shift[0])

        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits_left != 0):
            m.d.sync += [timer.eq(self.divisor - 1), bits_left.eq(bits_left - 1), shift.eq(Cat(shift[1:], 1))]

        m.d.comb += self.bytes.ready.eq((timer == 0) & (bits_left == 0))
        with m.If(self.bytes.valid & self.bytes.ready):
            m.d.sync += [
                shift.eq(Cat(0, self.bytes.payload)),
                timer.eq(self.divisor - 1),
                bits_left.eq(_DATA_BITS + 1),
            ]

        return m
