"""iCE40 UltraPlus: block memories SB_RAM40_4K, and the large single-port memories SB_SPRAM256KA."""

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring

from ..arithmetic import pipe
from .ports import ram_members

EBR_DEPTH = 2048
"""Words of the deepest shape of SB_RAM40_4K."""

SPRAM_ADDRESS_BITS = 14
SPRAM_WIDTH = 16

# Address bits, mode, and where the bits of a word are among the 16 data pins.
_EBR_SHAPES = ((8, 0, range(16)), (9, 1, range(0, 16, 2)), (10, 2, range(1, 16, 4)), (11, 3, range(3, 16, 8)))


class Ebr(wiring.Component):
    """Memory of up to 2048 words with one write and one read port in SB_RAM40_4K blocks, all zeros at first.

    Inferred, it would get logic that gives the old word where a word is read and written at once, and more
    that makes its output zero at first. The output register is in the fabric: the block has none.

    Latency: 2 cycles from `address` to `data`, or 1 without the output register; a word written in cycle t is
    read with an `address` given in cycle t + 1 or later. Reading the word that is written in the same cycle
    gives an undefined word.

    Members
    -------
    address : In, what to read
    data : Out, the word there
    write_enable, write_address, write_data : In, what to write
    """

    def __init__(self, *, width: int, depth: int, output_register: bool = True):
        if not 1 <= depth <= EBR_DEPTH:
            raise ValueError(f"depth must be 1 to {EBR_DEPTH}, not {depth!r}")
        self.width = width
        self.depth = depth
        self.output_register = output_register
        super().__init__(ram_members(width, depth))

    def elaborate(self, platform):
        m = Module()
        _, mode, pins = next(shape for shape in _EBR_SHAPES if self.depth <= 1 << shape[0])
        read = Signal(self.width)
        for start in range(0, self.width, len(pins)):
            word = Signal(16, name=f"word{start}")
            out = Signal(16, name=f"read{start}")
            for pin, bit in zip(pins, range(start, self.width), strict=False):
                m.d.comb += [word[pin].eq(self.write_data[bit]), read[bit].eq(out[pin])]
            m.submodules[f"column{start}"] = Instance(
                "SB_RAM40_4K",
                p_READ_MODE=mode,
                p_WRITE_MODE=mode,
                i_RCLK=ClockSignal(),
                i_RCLKE=Const(1),
                i_RE=Const(1),
                i_RADDR=Cat(self.address, Const(0, 11))[:11],
                i_WCLK=ClockSignal(),
                i_WCLKE=Const(1),
                i_WE=self.write_enable,
                i_WADDR=Cat(self.write_address, Const(0, 11))[:11],
                i_MASK=Const(0, 16),
                i_WDATA=word,
                o_RDATA=out,
            )
        m.d.comb += self.data.eq(pipe(m, read, "output") if self.output_register else read)
        return m


class Spram(wiring.Component):
    """Memory of one port in SB_SPRAM256KA blocks of 16384 x 16 bits, with unknown contents at first.

    Latency: 2 cycles from `address` to `data`, the second in a register of the fabric. A write takes the
    port: what is read with an `address` given in a cycle with `write_enable` is undefined.

    Members
    -------
    address : In, what to read
    data : Out, the word there
    write_enable, write_address, write_data : In, what to write
    """

    def __init__(self, *, width: int, depth: int):
        self.width = width
        self.depth = depth
        super().__init__(ram_members(width, depth))

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
