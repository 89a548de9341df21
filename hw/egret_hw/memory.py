"""Portable memories with an output register.

Every block-memory read of the design goes through here, so that a family's own block can take
their place with the same latency.
"""

from collections.abc import Sequence

from amaranth.hdl import Module, Shape, ShapeLike, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .blocks.ecp5_memory import BlockRam, BlockRom
from .blocks.family import ECP5, GENERIC, ICE40, family_of
from .blocks.ice40_memory import EBR_DEPTH, Ebr, Spram
from .blocks.lut_memory import LutRam, LutRom
from .blocks.ports import ram_members
from .protection import active_guard, parity_words
from .stream import index_shape

READ_LATENCY = 2
"""Cycles from address to data: the memory's own register and its output register."""

SMALL_DEPTH = 32
"""Words up to which a memory is made of look-up tables where the family is known."""

SMALL_BITS = 1024
"""Bits up to which a memory of twice as many words is, too."""


def is_small(*, width: int, depth: int) -> bool:
    """Whether a memory is made of look-up tables where the family is known: a block would be almost empty."""
    return depth <= SMALL_DEPTH or (depth <= 2 * SMALL_DEPTH and width * depth <= SMALL_BITS)


class Rom(wiring.Component):
    """Read-only memory with one or more ports.

    Latency: :data:`READ_LATENCY` cycles from `address{i}` to `data{i}`; throughput: a read per cycle and
    port.

    Parameters
    ----------
    shape, contents, ports : of its words, the words, and how many are read at once
    group : what it counts as where memories are protected, one of `protection.GROUPS`
    guarded : False = it has no protection of its own

    Members
    -------
    address{i} : In, index into `contents`
    data{i} : Out, the word there
    """

    def __init__(
        self,
        *,
        shape: ShapeLike,
        contents: Sequence[int],
        ports: int = 1,
        group: str = "parameters",
        guarded: bool = True,
    ):
        self.group = group
        self.guarded = guarded
        self.shape = Shape.cast(shape)
        self.contents = list(contents)
        self.ports = ports
        if not self.contents:
            raise ValueError("contents must hold at least one word, not none")
        members = {}
        for port in range(ports):
            members[f"address{port}"] = In(index_shape(len(self.contents)))
            members[f"data{port}"] = Out(self.shape)
        super().__init__(members)

    @property
    def bits(self) -> int:
        return self.shape.width * len(self.contents)

    def elaborate(self, platform):
        guard = active_guard()
        if guard and self.guarded:
            width = self.shape.width
            contents = parity_words(self.contents, width)
            return guard.rom(
                self, Rom(shape=width + 1, contents=contents, ports=self.ports, guarded=False), READ_LATENCY
            )
        family = family_of(platform)
        if family != GENERIC and is_small(width=self.shape.width, depth=len(self.contents)):
            return self._of(LutRom)
        if family == ECP5:
            return self._of(BlockRom)
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.shape, depth=len(self.contents), init=self.contents
        )
        for port in range(self.ports):
            read = store.read_port()
            data = Signal(self.shape, name=f"output{port}", reset_less=True)
            m.d.comb += [read.addr.eq(getattr(self, f"address{port}")), getattr(self, f"data{port}").eq(data)]
            m.d.sync += data.eq(read.data)
        return m

    def _of(self, kind: type[BlockRom] | type[LutRom]) -> Module:
        """Make the memory of one of a family's."""
        m = Module()
        m.submodules.memory = part = kind(width=self.shape.width, contents=self.contents, ports=self.ports)
        for port in range(self.ports):
            m.d.comb += [
                getattr(part, f"address{port}").eq(getattr(self, f"address{port}")),
                getattr(self, f"data{port}").eq(getattr(part, f"data{port}")),
            ]
        return m


class Ram(wiring.Component):
    """Memory with one write and one read port.

    Latency: :data:`READ_LATENCY` cycles from `address` to `data`; a word written in cycle t is read with an
    `address` given in cycle t + 1 or later. What is read with the address of a write in the same cycle is
    undefined.

    Parameters
    ----------
    shape, depth : of its words, and how many
    group, guarded : as for a :class:`Rom`
    """

    def __init__(self, *, shape: ShapeLike, depth: int, group: str = "state", guarded: bool = True):
        self.group = group
        self.guarded = guarded
        self.shape = Shape.cast(shape)
        self.depth = depth
        super().__init__(ram_members(self.shape, depth))

    @property
    def bits(self) -> int:
        return self.shape.width * self.depth

    def elaborate(self, platform):
        family = family_of(platform)
        width, depth = self.shape.width, self.depth
        guard = active_guard()
        if guard and self.guarded:
            return guard.ram(self, Ram(shape=width + 1, depth=depth, guarded=False), READ_LATENCY)
        if family == ECP5:
            kind = LutRam if is_small(width=width, depth=depth) else BlockRam
            return _delegated(self, kind(width=width, depth=depth))
        if family == ICE40 and depth <= EBR_DEPTH:
            return _delegated(self, Ebr(width=width, depth=depth))
        return _inferred_ram(self)


class SpramMemory(wiring.Component):
    """Large memory without initial contents, loaded at run time.

    On iCE40 UltraPlus it is made of the single-port memories of 16384 x 16 bits, of which a device has four;
    elsewhere it is a :class:`Ram`. Reading a word that was never written gives an undefined word.

    Latency: :data:`READ_LATENCY` cycles from `address` to `data`; a word written in cycle t is read with an
    `address` given in cycle t + 1 or later. What is read with an `address` given in a cycle with
    `write_enable` is undefined.

    Members
    -------
    address : In, what to read
    data : Out, the word there
    write_enable, write_address, write_data : In, what to write
    """

    def __init__(self, *, shape: ShapeLike, depth: int):
        self.shape = Shape.cast(shape)
        self.depth = depth
        super().__init__(ram_members(self.shape, depth))

    @property
    def bits(self) -> int:
        return self.shape.width * self.depth

    def elaborate(self, platform):
        if family_of(platform) == ICE40:
            return _delegated(self, Spram(width=self.shape.width, depth=self.depth))
        return _delegated(self, Ram(shape=self.shape.width, depth=self.depth))


def _delegated(outer: Ram | SpramMemory, part: wiring.Component) -> Module:
    """A memory made of `part`, which has the same members without a sign."""
    m = Module()
    m.submodules.memory = part
    m.d.comb += [
        part.address.eq(outer.address),
        part.write_enable.eq(outer.write_enable),
        part.write_address.eq(outer.write_address),
        part.write_data.eq(outer.write_data),
        outer.data.eq(part.data),
    ]
    return m


def _inferred_ram(outer: Ram) -> Module:
    """A memory that synthesis finds a place for."""
    m = Module()
    m.submodules.memory = store = memory.Memory(shape=outer.shape, depth=outer.depth, init=[])
    write, read = store.write_port(), store.read_port()
    data = Signal(outer.shape, name="output", reset_less=True)
    m.d.comb += [
        write.en.eq(outer.write_enable),
        write.addr.eq(outer.write_address),
        write.data.eq(outer.write_data),
        read.addr.eq(outer.address),
        outer.data.eq(data),
    ]
    m.d.sync += data.eq(read.data)
    return m
