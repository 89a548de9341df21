"""ECP5: block memories (DP16KD) with their own output register."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .ports import ram_members

ADDRESS_BITS = 14
"""Address bits of a block, counted in single bits of it."""

BANK_DEPTH = 1 << ADDRESS_BITS
"""Words of the deepest shape; a deeper memory is made of several banks."""

_SHAPES = ((10, 18), (11, 9), (12, 4), (13, 2), (14, 1))  # (address bits, word bits) of one port
_WIDE_DEPTH, _WIDE_WIDTH = 512, 36  # both ports side by side
_ROWS, _ROW_BITS = 1024, 18  # how the contents are counted
_INIT_ROWS, _INIT_PITCH = 16, 20  # rows per INITVAL parameter, and their distance in bits


class BlockRom(wiring.Component):
    """Read-only memory in block memories, shaped so that only banks of 16384 words need a multiplexer.

    A block serves two ports. A memory of one port and up to 512 words has its lower and upper halves of 18
    bits behind the two ports of each block, so that a block holds 36 bits of each word.

    Latency: 2 cycles from `address{i}` to `data{i}`; throughput: one read per port and cycle.

    Members
    -------
    address{i} : In, index into `contents`
    data{i} : Out, the word there
    """

    def __init__(self, *, width: int, contents: Sequence[int], ports: int = 1):
        self.width = width
        self.contents = [word & ((1 << width) - 1) for word in contents]
        self.ports = ports
        members = {}
        for port in range(ports):
            members[f"address{port}"] = In(max(1, bits_for(len(self.contents) - 1)))
            members[f"data{port}"] = Out(unsigned(width))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        banks = [
            self.contents[start : start + BANK_DEPTH] for start in range(0, len(self.contents), BANK_DEPTH)
        ]
        for pair in range(0, self.ports, 2):
            ports = range(pair, min(pair + 2, self.ports))
            addresses = [getattr(self, f"address{port}") for port in ports]
            reads: list[list[Signal]] = [[] for _ in ports]
            for number, words in enumerate(banks):
                name = f"ports{pair}_bank{number}"
                for read, data in zip(reads, self._bank(m, name, words, addresses), strict=True):
                    read.append(data)
            for port, address, read in zip(ports, addresses, reads, strict=True):
                m.d.comb += getattr(self, f"data{port}").eq(_selected(m, address, read, f"select{port}"))
        return m

    def _bank(self, m: Module, name: str, words: list[int], addresses: list[Value]) -> list[Signal]:
        """Blocks that hold `words`, one output per address."""
        outputs = [Signal(unsigned(self.width), name=f"{name}_data{port}") for port in range(len(addresses))]
        wide = len(addresses) == 1 and len(words) <= _WIDE_DEPTH and self.width > _ROW_BITS
        address_bits, word_bits = _shape(len(words))
        column_bits = _WIDE_WIDTH if wide else word_bits
        for start in range(0, self.width, column_bits):
            column = [(word >> start) & ((1 << column_bits) - 1) for word in words]
            if wide:
                upper = [word >> _ROW_BITS for word in column]
                column = [word & ((1 << _ROW_BITS) - 1) for word in column]
                column += [0] * (_WIDE_DEPTH - len(column)) + upper
                place = Cat(addresses[0], Const(0, address_bits))[: address_bits - 1]
                ports = [
                    _port(
                        "A",
                        _located(Cat(place, Const(0, 1)), address_bits),
                        outputs[0][start : start + _ROW_BITS],
                    ),
                    _port(
                        "B",
                        _located(Cat(place, Const(1, 1)), address_bits),
                        outputs[0][start + _ROW_BITS : start + column_bits],
                    ),
                ]
            else:
                ports = [
                    _port(side, _located(address, address_bits), output[start : start + column_bits])
                    for side, address, output in zip("AB", addresses, outputs, strict=False)
                ]
                if len(ports) == 1:
                    ports.append(_idle_port("B"))
            m.submodules[f"{name}_column{start}"] = _block(word_bits, _rows(column, word_bits), *ports)
        return outputs


class BlockRam(wiring.Component):
    """Memory of one write and one read port in block memories, all zeros at first.

    Up to 512 words of more than 18 bits, a block serves 36 bits; deeper, the shape is chosen so that only
    banks of 16384 words need a multiplexer.

    Latency: 2 cycles from `address` to `data`; a word written in cycle t is read with an `address` given in
    cycle t + 1 or later. Reading the word that is written in the same cycle gives an undefined word.

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
        reads = []
        for number, start in enumerate(range(0, self.depth, BANK_DEPTH)):
            enable = Signal(name=f"bank{number}_write")
            m.d.comb += enable.eq(self.write_enable & (self.write_address[ADDRESS_BITS:] == number))
            reads.append(self._bank(m, f"bank{number}", min(BANK_DEPTH, self.depth - start), enable))
        m.d.comb += self.data.eq(_selected(m, self.address, reads, "select"))
        return m

    def _bank(self, m: Module, name: str, depth: int, enable: Value) -> Signal:
        """Blocks for `depth` words."""
        output = Signal(unsigned(self.width), name=f"{name}_data")
        wide = depth <= _WIDE_DEPTH and self.width > _ROW_BITS
        address_bits, word_bits = (9, _WIDE_WIDTH) if wide else _shape(depth)
        read, write = _located(self.address, address_bits), _located(self.write_address, address_bits)
        if word_bits >= _ROW_BITS:
            # Where a word has whole bytes of 9 bits, the lowest address bits enable the write of each.
            write = Cat(enable.replicate(word_bits // 9), write[word_bits // 9 :])
        for start in range(0, self.width, word_bits):
            data, word = output[start : start + word_bits], self.write_data[start : start + word_bits]
            if wide:
                # Write at port A, read at port B; each half of the word has its data pins at one port.
                port_a = _port("A", write, data[:_ROW_BITS], write=Const(1), word=word[:_ROW_BITS])
                port_b = _port("B", read, data[_ROW_BITS:], word=word[_ROW_BITS:])
            else:
                port_a = _port("A", write, Signal(0), write=enable, word=word)
                port_b = _port("B", read, data)
            m.submodules[f"{name}_column{start}"] = _block(word_bits, [0] * _ROWS, port_a, port_b)
        return output


def _shape(depth: int) -> tuple[int, int]:
    """Address bits and word bits of the widest shape that holds `depth` words."""
    return next(shape for shape in _SHAPES if depth <= 1 << shape[0])


def _located(address: Value, bits: int) -> Value:
    """`address` as the block counts it: in bits, of which a word takes the lowest places."""
    return Cat(Const(0, ADDRESS_BITS - bits), address[:bits], Const(0, bits))[:ADDRESS_BITS]


def _selected(m: Module, address: Value, banks: list[Signal], name: str) -> Value:
    """The output of the bank that `address` pointed to when the words now at the outputs were asked for."""
    if len(banks) == 1:
        return banks[0]
    waiting = Signal(len(address) - ADDRESS_BITS, name=f"{name}_waiting", reset_less=True)
    select = Signal(len(address) - ADDRESS_BITS, name=name, reset_less=True)
    m.d.sync += [waiting.eq(address[ADDRESS_BITS:]), select.eq(waiting)]
    return Array(banks)[select]


def _rows(words: list[int], word_bits: int) -> list[int]:
    """The block's 1024 rows of 18 bits for words of up to 18 bits.

    A row is two bytes of 9 bits, of which words of 1 to 4 bits leave the ninth unused.
    """
    bytes_per_word = max(1, word_bits // 9)
    words_per_byte = max(1, 8 // word_bits)
    rows = [0] * _ROWS
    for index, word in enumerate(words):
        byte, place = divmod(index * bytes_per_word, words_per_byte)
        row, half = divmod(byte, 2)
        rows[row] |= word << (9 * half + place * word_bits)
    return rows


def _port(
    side: str, address: Value, data: Value, *, write: Value | None = None, word: Value | None = None
) -> dict:
    """Connections of one port of a block; `data` may be narrower than the port."""
    word = Const(0, 1) if word is None else word
    word = Cat(word, Const(0, _ROW_BITS))[:_ROW_BITS]
    ports = {
        f"i_CLK{side}": ClockSignal(),
        f"i_CE{side}": Const(1),
        f"i_OCE{side}": Const(1),
        f"i_WE{side}": Const(0) if write is None else write,
        f"i_RST{side}": Const(0),
    }
    ports |= {f"i_CS{side}{bit}": Const(0) for bit in range(3)}
    ports |= {f"i_AD{side}{bit}": address[bit] for bit in range(ADDRESS_BITS)}
    ports |= {f"i_DI{side}{bit}": word[bit] for bit in range(_ROW_BITS)}
    ports |= {f"o_DO{side}{bit}": data[bit] for bit in range(len(data))}
    return ports


def _idle_port(side: str) -> dict:
    """Connections of a port that nobody uses."""
    return _port(side, Const(0, ADDRESS_BITS), Signal(0)) | {
        f"i_CLK{side}": Const(0),
        f"i_CE{side}": Const(0),
    }


def _block(word_bits: int, rows: list[int], *ports: dict) -> Instance:
    """One DP16KD with output registers."""
    values = {}
    for number in range(_ROWS // _INIT_ROWS):
        value = 0
        for place, row in enumerate(rows[number * _INIT_ROWS : (number + 1) * _INIT_ROWS]):
            value |= row << (place * _INIT_PITCH)
        values[f"p_INITVAL_{number:02X}"] = Const(value, _INIT_ROWS * _INIT_PITCH)
    connections = {name: value for port in ports for name, value in port.items()}
    return Instance(
        "DP16KD",
        p_DATA_WIDTH_A=word_bits,
        p_DATA_WIDTH_B=word_bits,
        p_REGMODE_A="OUTREG",
        p_REGMODE_B="OUTREG",
        p_WRITEMODE_A="NORMAL",
        p_WRITEMODE_B="NORMAL",
        p_RESETMODE="SYNC",
        p_CSDECODE_A="0b000",
        p_CSDECODE_B="0b000",
        p_GSR="DISABLED",
        **values,
        **connections,
    )
