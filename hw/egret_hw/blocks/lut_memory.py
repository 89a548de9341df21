"""Memories of a few words in look-up tables, with the latency of a block memory."""

from collections.abc import Sequence

from amaranth.hdl import Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..arithmetic import pipe
from .ports import ram_members


class LutRom(wiring.Component):
    """Read-only memory as logic, between a register for the address and one for the word.

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
        # Without the attribute, Yosys joins register and memory into a block without an output register.
        m.submodules.words = store = memory.Memory(
            shape=unsigned(self.width),
            depth=len(self.contents),
            init=self.contents,
            attrs={"rom_style": "logic", "ram_style": "logic"},
        )
        for port in range(self.ports):
            read = store.read_port(domain="comb")
            m.d.comb += read.addr.eq(pipe(m, getattr(self, f"address{port}"), f"waiting{port}"))
            m.d.comb += getattr(self, f"data{port}").eq(pipe(m, read.data, f"output{port}"))
        return m


class LutRam(wiring.Component):
    """Memory of one write and one read port in distributed memory, all zeros at first.

    Latency: 2 cycles from `address` to `data`; a word written in cycle t is read with an `address` given in
    cycle t + 1 or later.

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
        m.submodules.words = store = memory.Memory(
            shape=unsigned(self.width), depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            # Read a cycle late: a write of the cycle between comes too late for it, as it would for a block.
            read.addr.eq(pipe(m, self.address, "waiting")),
            self.data.eq(pipe(m, read.data, "output")),
        ]
        return m
