"""Portable memories with an output register.

Every block-memory read of the design goes through here, so that a family's own block can take
their place with the same latency.
"""

from collections.abc import Sequence

from amaranth.hdl import Module, Shape, ShapeLike, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .stream import index_shape

READ_LATENCY = 2
"""Cycles from address to data: the memory's own register and its output register."""


class Rom(wiring.Component):
    """Read-only memory with one or more ports.

    Latency: :data:`READ_LATENCY` cycles from `address{i}` to `data{i}`; throughput: one read per port and cycle.

    Members
    -------
    address{i} : In, index into `contents`
    data{i} : Out, the word there
    """

    def __init__(self, *, shape: ShapeLike, contents: Sequence[int], ports: int = 1):
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
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=self.shape, depth=len(self.contents), init=self.contents)
        for port in range(self.ports):
            read = store.read_port()
            data = Signal(self.shape, name=f"output{port}", reset_less=True)
            m.d.comb += [read.addr.eq(getattr(self, f"address{port}")), getattr(self, f"data{port}").eq(data)]
            m.d.sync += data.eq(read.data)
        return m


class Ram(wiring.Component):
    """Memory with one write and one read port.

    Latency: :data:`READ_LATENCY` cycles from `address` to `data`; a word written in cycle t is read with an `address` given
    in cycle t + 1 or later. The design never reads and writes one address in the same cycle.
    """

    def __init__(self, *, shape: ShapeLike, depth: int):
        self.shape = Shape.cast(shape)
        self.depth = depth
        super().__init__(
            {
                "address": In(index_shape(depth)),
                "data": Out(self.shape),
                "write_enable": In(1),
                "write_address": In(index_shape(depth)),
                "write_data": In(self.shape),
            }
        )

    @property
    def bits(self) -> int:
        return self.shape.width * self.depth

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port()
        data = Signal(self.shape, name="output", reset_less=True)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.address),
            self.data.eq(data),
        ]
        m.d.sync += data.eq(read.data)
        return m
