"""Parity beside every memory and copies beside stream registers, so that no single upset goes unseen.

A :class:`Guard` is active while an accelerator with `protection="parity"` is elaborated. Memories, queues and
registers ask for it (:func:`active_guard`) and let it add what watches them. Nothing is added where there is
none, and what is added only looks: results, latencies and cycle counts stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Fragment, Module, Shape, Signal, Value, ValueLike
from amaranth.lib import data, memory
from amaranth.lib.wiring import Component

from .arithmetic import pipe, strobe_pipe

NONE, PARITY = "none", "parity"
PROTECTIONS = (NONE, PARITY)

GROUPS = {
    "weights": "weights of layers and readout",
    "parameters": "biases, thresholds and tables",
    "state": "states of the units from step to step",
    "sums": "sums of the lanes",
    "queues": "tokens in queues, groups in the encoder's store, logits that wait",
    "streams": "payloads in registers between components",
}
"""What is watched together: a sticky bit of `fault` for each."""

FAULT_LATENCY = 4
"""Cycles at most from the read of a wrong word, or its transfer, until its bit of `fault` is 1."""

_SLICE_BITS = 16  # bits of a word whose parity is worked out before the first register

_active: ContextVar["Guard | None"] = ContextVar("egret_guard", default=None)


def active_guard() -> "Guard | None":
    """The guard of the accelerator that is being elaborated, if it is to be protected."""
    return _active.get()


def fault_layout() -> data.StructLayout:
    """A bit for each of :data:`GROUPS`, sticky until reset."""
    return data.StructLayout(dict.fromkeys(GROUPS, 1))


def parity_words(contents: Sequence[int], width: int) -> list[int]:
    """Words of `width` bits with their parity above them, so that each has an even number of ones."""
    words = [word & ((1 << width) - 1) for word in contents]
    return [word | (word.bit_count() & 1) << width for word in words]


class Guard:
    """Watches the memories and stream registers of one accelerator."""

    def __init__(self) -> None:
        self._strobes: dict[str, list[Signal]] = {group: [] for group in GROUPS}

    def elaborated(self, component: Elaboratable, platform: Any) -> Fragment:
        """A component, elaborated down to its last part under this guard."""
        with _guarding(self):
            return Fragment.get(component, platform)

    def collect(self, m: Module, fault: data.View) -> None:
        """Drive the sticky bits, once all components are elaborated."""
        for group, strobes in self._strobes.items():
            some = Signal(name=f"{group}_some")
            m.d.sync += some.eq(Cat(strobes).any())
            with m.If(some):
                m.d.sync += fault[group].eq(1)

    def rom(self, outer: Component, bare: Component, latency: int) -> Module:
        """A memory `outer` made of `bare`, whose words have a parity bit more."""
        m = Module()
        m.submodules.words = bare
        for port in range(outer.ports):
            address, read = getattr(outer, f"address{port}"), getattr(bare, f"data{port}")
            m.d.comb += [
                getattr(bare, f"address{port}").eq(address),
                getattr(outer, f"data{port}").eq(read[:-1]),
            ]
            valid = strobe_pipe(m, _within(address, len(outer.contents)), f"valid{port}", latency)
            self._check(m, outer.group, f"port{port}", read, valid)
        return m

    def ram(self, outer: Component, bare: Component, latency: int) -> Module:
        """A memory `outer` made of `bare`, whose words have a parity bit more.

        What is read in the cycle of its own write is undefined, so it is not looked at.
        """
        m = Module()
        m.submodules.words = bare
        written = Value.cast(outer.write_data)
        m.d.comb += [
            bare.address.eq(outer.address),
            bare.write_enable.eq(outer.write_enable),
            bare.write_address.eq(outer.write_address),
            bare.write_data.eq(Cat(written, written.xor())),
            outer.data.eq(bare.data[:-1]),
        ]
        clash = outer.write_enable & (outer.write_address == outer.address)
        valid = strobe_pipe(m, _within(outer.address, outer.depth) & ~clash, "valid", latency)
        self._check(m, outer.group, "read", bare.data, valid)
        return m

    def queue(self, outer: Component, bare: Component) -> Module:
        """A queue `outer` made of `bare`, whose items (:func:`parity_layout`) carry their parity."""
        m = Module()
        m.submodules.items = bare
        item = Value.cast(outer.i.payload)
        m.d.comb += [
            bare.i.payload.item.eq(item),
            bare.i.payload.parity.eq(item.xor()),
            bare.i.valid.eq(outer.i.valid),
            outer.i.ready.eq(bare.i.ready),
            Value.cast(outer.o.payload).eq(bare.o.payload.item),
            outer.o.valid.eq(bare.o.valid),
            bare.o.ready.eq(outer.o.ready),
            outer.roomy.eq(bare.roomy),
        ]
        self._check(m, "queues", "head", Value.cast(bare.o.payload), bare.o.valid)
        return m

    def register(
        self, m: Module, name: str, register: ValueLike, arriving: ValueLike, *, when, valid
    ) -> None:
        """Watch a stream's register, which takes `arriving` in each cycle with `when`, while it is `valid`.

        A copy of it is kept, inverted so that synthesis does not make one register of both. Working out a
        parity would take longer than `arriving` may have left.
        """
        watched = Value.cast(register)
        taken = Signal(len(watched), name=f"{name}_taken")
        copy = Signal(len(watched), name=f"{name}_copy", reset_less=True)
        m.d.comb += taken.eq(Value.cast(arriving))
        with m.If(when):
            m.d.sync += copy.eq(~taken)
        m.d.sync += self._strobe("streams", name).eq(valid & ~(watched ^ copy).all())

    def fields(self, m: Module, name: str, register: data.View, values: Mapping[str, Any], *, when, valid):
        """Watch a register that takes these fields; the others keep their first value."""
        arriving = Signal(register.shape(), name=f"{name}_arriving")
        m.d.comb += [getattr(arriving, field).eq(value) for field, value in values.items()]
        self.register(m, name, register, arriving, when=when, valid=valid)

    def sums(self, m: Module, watch: "SumWatch") -> None:
        """Watch the sums of a lane with a parity memory that does all they do one cycle later.

        So an addition is not followed by a parity in its cycle.
        """
        new = pipe(m, watch.new.as_unsigned(), "new_late")
        stored: list[Value] = []
        for number, (enable, write_address, read_address) in enumerate(watch.memories):
            if enable is None:
                stored.append(Const(0, 1))
                continue
            bits = memory.Memory(
                shape=1, depth=1 << len(write_address), init=[], attrs={"ram_style": "distributed"}
            )
            m.submodules[f"parity{number}"] = bits
            write, read = bits.write_port(), bits.read_port(domain="comb")
            # A sum that is written in the cycle of a reset has its parity, too.
            late = Signal(name=f"parity{number}_write", reset_less=True)
            m.d.sync += late.eq(enable)
            m.d.comb += [
                write.en.eq(late),
                write.addr.eq(pipe(m, write_address, f"parity{number}_write_address")),
                write.data.eq(new.xor()),
                read.addr.eq(pipe(m, read_address, f"parity{number}_read_address")),
            ]
            stored.append(read.data)
        for name, word, index, valid in watch.checks:
            parity = Cat(stored).bit_select(index, 1)
            m.d.sync += self._strobe("sums", name).eq(valid & (word.as_unsigned().xor() ^ parity))

    def _check(self, m: Module, group: str, name: str, word: Value, valid: Value) -> None:
        """Raise a strobe where a valid word has an odd number of ones. The way to it has a register."""
        slices = [word[start : start + _SLICE_BITS].xor() for start in range(0, len(word), _SLICE_BITS)]
        odd = Signal(len(slices), name=f"{name}_odd", reset_less=True)
        m.d.sync += odd.eq(Cat(slices))
        checked = strobe_pipe(m, valid, f"{name}_checked", 1)
        m.d.sync += self._strobe(group, name).eq(odd.xor() & checked)

    def _strobe(self, group: str, name: str) -> Signal:
        strobe = Signal(name=f"{name}_fault")
        self._strobes[group].append(strobe)
        return strobe


class SumWatch:
    """What a guard must see of a lane's sums.

    Attributes
    ----------
    new : the sum that is being written
    memories : for each memory: write enable, write address and read address; None three times where the list
        of memories has a gap
    checks : for each read: name; the word, a cycle after it was read; which memory it came from; whether it
        counts
    """

    def __init__(self, new: Value) -> None:
        self.new = new
        self.memories: list[tuple[Any, Any, Any]] = []
        self.checks: list[tuple[str, Value, Value, Value]] = []


def parity_layout(layout: data.Layout) -> data.StructLayout:
    """An item of a queue, as bits, and its parity."""
    return data.StructLayout({"item": Shape.cast(layout).width, "parity": 1})


def _within(address: Value, words: int) -> Value:
    """Whether there is such a word: what is read elsewhere is undefined."""
    return Const(1, 1) if words == 1 << len(address) else address < words


@contextmanager
def _guarding(guard: Guard) -> Iterator[None]:
    token = _active.set(guard)
    try:
        yield
    finally:
        _active.reset(token)
