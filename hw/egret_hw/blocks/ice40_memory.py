"""iCE40 UltraPlus: the single-port memories SB_SPRAM256KA."""

from amaranth.hdl import Array, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..arithmetic import pipe

SPRAM_ADDRESS_BITS = 14
SPRAM_WIDTH = 16


class Spram(wiring.Component):
    """Memory of one port in SB_SPRAM256KA blocks of 16384 x 16 bits, with unknown contents at first.

    Latency: 2 cycles from `address` to `data`, the second in a register of the fabric. A write takes the port:
    `data` for an `address` given in a cycle with `write_enable` is undefined.

    Members
    -------
    address : In, what to read
    data : Out, the word there
    write_enable, write_address, write_data : In, what to write
    """

    def __init__(self, *, width: int, depth: int):
        self.width = width
        self.depth = depth
        address = max(1, bits_for(depth - 1))
        super().__init__(
            {
                "address": In(address),
                "data": Out(width),
                "write_enable": In(1),
                "write_address": In(address),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        address = Signal(max(len(self.address), SPRAM_ADDRESS_BITS))
        m.d.comb += address.eq(Mux(self.write_enable, self.write_address, self.address))
        place, bank = address[:SPRAM_ADDRESS_BITS], address[SPRAM_ADDRESS_BITS:]
        reads = []
        for number in range(-(-self.depth >> SPRAM_ADDRESS_BITS)):
            enable = Signal(name=f"bank{number}_write")
            m.d.comb += enable.eq(self.write_enable & (bank == number))
            reads.append(Signal(self.width, name=f"bank{number}_data"))
            for start in range(0, self.width, SPRAM_WIDTH):
                word = Signal(SPRAM_WIDTH, name=f"bank{number}_word{start}")
                read = Signal(SPRAM_WIDTH, name=f"bank{number}_read{start}")
                m.d.comb += word.eq(self.write_data[start : start + SPRAM_WIDTH])
                m.d.comb += reads[number][start : start + SPRAM_WIDTH].eq(read)
                m.submodules[f"bank{number}_column{start}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(),
                    i_ADDRESS=place,
                    i_DATAIN=word,
                    i_MASKWREN=Const(0b1111, 4),
                    i_WREN=enable,
                    i_CHIPSELECT=Const(1),
                    i_STANDBY=Const(0),
                    i_SLEEP=Const(0),
                    i_POWEROFF=Const(1),  # active low
                    o_DATAOUT=read,
                )
        selected = reads[0] if len(reads) == 1 else Array(reads)[pipe(m, bank, "select")]
        m.d.comb += self.data.eq(pipe(m, selected, "output"))
        return m
