"""Stand-ins: a part replaced by everything that its contract allows.

What is proved with a stand-in holds for every implementation that keeps the contract, on every family.
"""

from dataclasses import dataclass

from amaranth.asserts import AnySeq
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.utils import ceil_log2

from egret_hw.memory import Ram, Rom
from egret_hw.multiplier import Multiplier, PairMultiplier


@dataclass(frozen=True)
class Watch:
    """A look into a :class:`Ram` made by its contract: the word at `address`, and the word read but not yet
    at the output."""

    address: Signal
    word: Signal
    under_way: Signal


def ram(self: Ram, platform) -> Module:
    """A memory whose read of the word that is written in the same cycle may give anything."""
    m = Module()
    width = self.shape.width
    m.submodules.words = store = memory.Memory(shape=width, depth=1 << ceil_log2(self.depth), init=[])
    write, read = store.write_port(), store.read_port(domain="comb")
    clash = self.write_enable & (self.write_address == self.address)
    under_way = Signal(width)
    m.d.comb += [
        write.en.eq(self.write_enable),
        write.addr.eq(self.write_address),
        write.data.eq(self.write_data),
        read.addr.eq(self.address),
    ]
    output = Signal(width)
    m.d.sync += [under_way.eq(Mux(clash, AnySeq(width), read.data)), output.eq(under_way)]
    m.d.comb += Value.cast(self.data).eq(output)
    if watch := getattr(self, "formal_watch", None):
        look = store.read_port(domain="comb")
        m.d.comb += [look.addr.eq(watch.address), watch.word.eq(look.data), watch.under_way.eq(under_way)]
    return m


def watched(part: Ram) -> Watch:
    """Ask the stand-in of `part` for a look inside."""
    width = part.shape.width
    watch = Watch(
        Signal(range(1 << ceil_log2(part.depth)), name="watch_address"),
        Signal(width, name="watch_word"),
        Signal(width, name="watch_under_way"),
    )
    part.formal_watch = watch  # type: ignore[attr-defined]
    return watch


def any_rom(self: Rom, platform) -> Module:
    """A read-only memory with any contents, even changing ones: for claims about control alone."""
    m = Module()
    for port in range(self.ports):
        data = getattr(self, f"data{port}")
        m.d.comb += Value.cast(data).eq(AnySeq(len(Value.cast(data))))
    return m


def any_product(self: Multiplier, platform) -> Module:
    """A multiplier with any result."""
    m = Module()
    m.d.comb += self.product.eq(AnySeq(len(self.product)))
    return m


def any_products(self: PairMultiplier, platform) -> Module:
    """A pair of multipliers with any results."""
    m = Module()
    for product in (self.product0, self.product1):
        m.d.comb += product.eq(AnySeq(len(product)))
    return m


CONTRACT_RAM = {Ram: ram}
ANY_DATA = {Ram: ram, Rom: any_rom, Multiplier: any_product, PairMultiplier: any_products}
"""Control is proved for whatever data may come: weights, tables, products and states are arbitrary."""
