"""Stand-ins: a part replaced by everything that its contract allows.

What is proved with a stand-in holds for every implementation that keeps the contract, on every family.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory
from amaranth.utils import ceil_log2

from egret_hw.arithmetic import pipe, strobe_pipe
from egret_hw.fifo import PassingFifo
from egret_hw.half_table import HalfTable
from egret_hw.mac_array import MacArray
from egret_hw.memory import READ_LATENCY, Ram, Rom
from egret_hw.multiplier import Multiplier, PairMultiplier
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.queues import RecurrentQueue
from egret_hw.reset_gate import ResetGate


@dataclass(frozen=True)
class Watch:
    """A look into a :class:`Ram` made by its contract.

    Attributes
    ----------
    address : where to look
    word : what lies there
    under_way : the word that was read and is not yet at the output
    """

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
    part.formal_watch = watch
    return watch


@dataclass(frozen=True)
class Items:
    """A look into a :class:`PassingFifo` made by its contract: what waits, the next to leave first."""

    words: list[Signal]
    count: Signal


def fifo(self: PassingFifo | RecurrentQueue, platform) -> Module:
    """A queue of `depth` + 1 items that may refuse one at any time once `depth` wait.

    An item is at the output in the cycle after it came, as the real queue's is if nothing waits.
    """
    m = Module()
    items = getattr(self, "formal_items", None) or seen(self)
    words, count = items.words, items.count
    leaves, enters = Signal(), Signal()
    m.d.comb += [
        self.i.ready.eq((count < self.depth) | ((count == self.depth) & AnySeq(1))),
        self.o.valid.eq(count != 0),
        Value.cast(self.o.payload).eq(words[0]),
        leaves.eq(self.o.valid & self.o.ready),
        enters.eq(self.i.valid & self.i.ready),
    ]
    if isinstance(self, PassingFifo):
        m.d.comb += self.roomy.eq(AnySeq(1))
    m.d.sync += count.eq(count + enters - leaves)
    for place, word in enumerate(words):
        behind = words[place + 1] if place + 1 < len(words) else word
        with m.If(enters & (count - leaves == place)):
            m.d.sync += word.eq(self.i.payload)
        with m.Elif(leaves):
            m.d.sync += word.eq(behind)
    return m


def seen(part: PassingFifo | RecurrentQueue) -> Items:
    """Ask the stand-in of `part` for a look inside."""
    width = Shape.cast(part.layout).width
    words = [Signal(width, name=f"item{place}") for place in range(part.depth + 1)]
    part.formal_items = Items(words, Signal(range(part.depth + 2), name="items"))
    return part.formal_items


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


CONTRACT_RAM: dict[type, Callable] = {Ram: ram}
CONTRACT_FIFO: dict[type, Callable] = {PassingFifo: fifo}
CONTRACT_QUEUES: dict[type, Callable] = {PassingFifo: fifo, RecurrentQueue: fifo}
ANY_DATA: dict[type, Callable] = {
    Ram: ram,
    Rom: any_rom,
    Multiplier: any_product,
    PairMultiplier: any_products,
}
"""Control is proved for whatever data may come: weights, tables, products and states are arbitrary."""


def lanes(self: MacArray, platform) -> Module:
    """Lanes with any sums, that say as late as the real ones when a step's products are in."""
    m = Module()
    late = self.close_latency
    strobes = [self.strobe]
    for age in range(late):
        strobes.append(strobe_pipe(m, strobes[-1], f"strobe{age}", 1))
    m.d.comb += [
        self.closed.eq(strobe_pipe(m, self.close, "closing", late)),
        self.empty.eq(~Cat(strobes).any()),
        Value.cast(self.sums).eq(AnySeq(len(Value.cast(self.sums)))),
    ]
    return m


ANY_LATENCY = None
"""Of a stand-in: it takes as many cycles as it likes, one at least, and others for each group."""


def update(latency: int | None) -> Callable:
    """An update in which any unit may fire, with `latency` cycles from sums to results."""

    def elaborate(self: NeuronUpdate, platform) -> Module:
        m = Module()
        address = self.step.stream * self.groups + self.group if self.streams > 1 else self.group
        entry = Cat(self.group, self.last, address)
        strobe, late = _later(m, self.strobe, entry, latency, depth=self.groups * self.streams + 1)
        m.d.comb += [
            self.result_strobe.eq(strobe),
            Cat(self.result.group, self.result.last, self.result_address).eq(late),
        ]
        _anything(m, self.result, self.groups, self.units, self.lanes)
        return m

    return elaborate


def gate(latency: int | None) -> Callable:
    """A reset gate in which any unit's event may remain, with `latency` cycles from sums to results."""

    def elaborate(self: ResetGate, platform) -> Module:
        m = Module()
        entry = Cat(self.group, self.last)
        strobe, late = _later(m, self.strobe, entry, latency, depth=self.groups * self.streams + 1)
        m.d.comb += [self.result_strobe.eq(strobe), Cat(self.result.group, self.result.last).eq(late)]
        _anything(m, self.result, self.groups, self.layer.spec.units, self.lanes)
        return m

    return elaborate


def _later(m: Module, strobe: Value, entry: Value, latency: int | None, *, depth: int) -> tuple[Value, Value]:
    """`strobe` and `entry`, so many cycles later; with any latency, in order.

    `depth` entries have a place; where more come the first one leaves. There are fewer if no unit is there
    twice.
    """
    if latency is not None:
        return strobe_pipe(m, strobe, "strobe", latency), pipe(m, entry, "entry", latency)
    words = [Signal(len(entry), name=f"entry{place}") for place in range(depth)]
    count, leaves = Signal(range(depth + 1), name="entries"), Signal(name="entry_leaves")
    m.d.comb += leaves.eq((count != 0) & (AnySeq(1) | (count == depth)))
    m.d.sync += count.eq(count + strobe - leaves)
    for place, word in enumerate(words):
        with m.If(strobe & (count - leaves == place)):
            m.d.sync += word.eq(entry)
        with m.Elif(leaves & (place + 1 < depth)):
            m.d.sync += word.eq(words[min(place + 1, depth - 1)])
    return leaves, words[0]


def _anything(m: Module, result: data.View, groups: int, units: int, lanes: int) -> None:
    """Any units of a group fire, with any values. The last group may be part empty."""
    there = [Const(1)] * lanes
    for lane in range(lanes):
        if (groups - 1) * lanes + lane >= units:
            there[lane] = result.group != groups - 1
    values = Value.cast(result["values"])
    m.d.comb += [result.fired.eq(Cat(there) & AnySeq(lanes)), values.eq(AnySeq(len(values)))]


def tile_control(latency: int | None) -> dict:
    """What is left of a tile is its control: queues, scheduler, fetch, gather and encoder."""
    return {**ANY_DATA, MacArray: lanes, NeuronUpdate: update(latency), ResetGate: gate(latency)}


def any_ram(self: Ram, platform) -> Module:
    """A memory that gives any word: for claims about a single step, whatever the steps before have left."""
    m = Module()
    m.d.comb += Value.cast(self.data).eq(AnySeq(len(Value.cast(self.data))))
    return m


def any_table(self: HalfTable, platform) -> Module:
    """A table with any values, even changing ones."""
    m = Module()
    m.d.comb += self.value.eq(AnySeq(len(self.value)))
    return m


ANY_STEP: dict[type, Callable] = {**ANY_DATA, Ram: any_ram, HalfTable: any_table}
"""One step of an update is proved for whatever parameters, products and state it may find."""


def free_rom(self: Rom, platform) -> Module:
    """A read-only memory with any contents, always the same; :func:`chosen_words` names them."""
    m = Module()
    words = getattr(self, "formal_words", None) or [Signal(self.shape) for _ in self.contents]
    for port in range(self.ports):
        word = Array(words)[getattr(self, f"address{port}")]
        m.d.comb += getattr(self, f"data{port}").eq(pipe(m, word, f"data{port}_late", READ_LATENCY))
    return m


def chosen_words(part: Rom) -> list[Signal]:
    """The contents of the stand-in of `part`, for the caller to choose."""
    part.formal_words = [Signal(part.shape, name=f"word{n}") for n in range(len(part.contents))]
    return part.formal_words


FREE_ROM: dict[type, Callable] = {Rom: free_rom}
