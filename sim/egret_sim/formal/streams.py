"""Stream rules of every component that has streams."""

from collections.abc import Callable
from typing import Any

import numpy as np
from amaranth.hdl import Assert, Assume, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.event_encoder import EventEncoder
from egret_hw.fifo import PassingFifo
from egret_hw.geometry import RowGeometry
from egret_hw.link import ByteLink
from egret_hw.logit_scan import LogitScan
from egret_hw.queues import RecurrentQueue
from egret_hw.readout import ReadoutTile
from egret_hw.readout_scheduler import ReadoutScheduler
from egret_hw.stream import Kind
from egret_hw.tile import Tile
from egret_hw.tile_scheduler import TileScheduler
from egret_hw.uart import UARTReceiver, UARTTransmitter
from egret_hw.weight_fetch import WeightFetch
from egret_hw.widths import ReadoutWidths
from egru.image import NetworkImage
from egru.testing import random_image

from .checker import drive, stream_rules, streams_of
from .peek import Peek
from .proof import Build

UNITS, LANES = 2, 3


def image(*, reset: str = "after", mode: str = "mean", units: int = UNITS) -> NetworkImage:
    """A network so small that a solver can look at all of it."""
    return random_image(
        np.random.default_rng(1),
        inputs=1,
        units=[units],
        classes=2,
        mode=mode,
        max_steps=3,
        input_bits=2,
        weight_bits=2,
        event_bits=2,
        table_bits=4,
        reset=reset,
    )


def accelerator(**options: Any) -> Accelerator:
    """One layer and a readout, with any further options of its configuration."""
    return Accelerator(image(), AcceleratorConfig(lanes=LANES, queue_depth=1, **options))


def tile(
    *, streams: int = 1, reset: str = "after", lanes: int = LANES, units: int = UNITS, **options: Any
) -> Tile:
    """A layer of its own, with any further options of a tile."""
    layer = image(reset=reset, units=units).layers[0]
    return Tile(layer=layer, lanes=lanes, update_lanes=1, queue_depth=1, streams=streams, **options)


def readout(*, mode: str = "mean", compact: bool = False) -> ReadoutTile:
    """A readout of its own."""
    network = image(mode=mode)
    events = network.layers[0].event_format
    return ReadoutTile(readout=network.readout, events=events, lanes=1, queue_depth=1, compact=compact)


def scheduler(*, streams: int = 1, gate_first: bool = False) -> TileScheduler:
    """A tile's scheduler."""
    return TileScheduler(
        inputs=2,
        units=2,
        event_bits=1,
        input_value=unsigned(1),
        value=signed(3),
        input_shift=0,
        recurrent_shift=1,
        streams=streams,
        steps=min(2, streams),
        gate_first=gate_first,
    )


#: Words of weights that a link loads, and their layout.
_LOAD_WORDS, _LOAD = 3, data.StructLayout({"address": range(3), "word": 3})


def link(*, loads: bool = False) -> ByteLink:
    """The serial link of a network with one unit, with the smallest buffers.

    With `loads` it also loads weights and reads a counter.
    """
    return ByteLink(
        inputs=2,
        input_value=unsigned(2),
        units=1,
        unit_value=unsigned(1),
        classes=2,
        logit_value=signed(2),
        receive_depth=4,
        event_depth=4,
        loads=[(_LOAD, _LOAD_WORDS)] if loads else (),
        counters=1 if loads else 0,
    )


COMPONENTS: dict[type[wiring.Component], Callable[[], wiring.Component]] = {
    PassingFifo: lambda: PassingFifo(data.StructLayout({"item": 2}), depth=3),
    RecurrentQueue: lambda: RecurrentQueue(units=UNITS, event_bits=2, streams=1),
    TileScheduler: lambda: scheduler(streams=2, gate_first=True),
    WeightFetch: lambda: WeightFetch(rows=3, words=2, value=unsigned(2), banks=2),
    EventEncoder: lambda: EventEncoder(units=4, lanes=2, event_bits=1, steps=1),
    ReadoutScheduler: lambda: ReadoutScheduler(
        units=UNITS, value=unsigned(2), mode="mean", max_steps=3, streams=1
    ),
    LogitScan: lambda: LogitScan(
        readout=image().readout,
        geometry=RowGeometry(positions=2, lanes=1),
        widths=ReadoutWidths.of(image().readout, image().layers[-1].event_format),
        banks=2,
    ),
    ReadoutTile: readout,
    Tile: tile,
    Accelerator: accelerator,
    ByteLink: link,
    UARTReceiver: lambda: UARTReceiver(divisor=4),
    UARTTransmitter: lambda: UARTTransmitter(divisor=4),
}
"""Every component with streams, as small as it comes. A test holds that none is missing."""

FORMS: dict[str, Callable[[], wiring.Component]] = {
    "small queue": lambda: PassingFifo(data.StructLayout({"item": 2}), depth=9, small=True),
    "deep queue": lambda: PassingFifo(data.StructLayout({"item": 2}), depth=17),
    "small encoder": lambda: EventEncoder(units=4, lanes=2, event_bits=1, steps=1, small=True),
    "streams": lambda: tile(streams=2),
    "weights loaded": lambda: tile(loaded=True),
    "compact": lambda: tile(compact=True),
    "gate first": lambda: tile(reset="before"),
    "gate first, compact": lambda: tile(reset="before", compact=True),
    "compact readout": lambda: readout(compact=True),
    "link with loads": lambda: link(loads=True),
    "parity": lambda: accelerator(protection="parity"),
}
"""Other forms of some of them, of other parts or with more streams."""


def keeps_rules(make: Callable[[], wiring.Component]) -> Build:
    """All output streams keep the rules whatever the inputs do, as long as those keep them."""

    def build(m: Module) -> None:
        component = make()
        m.submodules.component = component
        drive(m, component)
        for name, port in streams_of(component, Out).items():
            stream_rules(m, port, name)

    return build


def link_keeps_rules(m: Module) -> None:
    """The link's streams, where the last layer sends only what a TICK that went in has caused."""
    _link_keeps_rules(m, link())


def loading_link_keeps_rules(m: Module) -> None:
    """The same with weights to load, of which each word is taken at once and has an address that is there."""
    component = link(loads=True)
    _link_keeps_rules(m, component)
    m.d.comb += Assume(component.load0.ready)
    with m.If(component.load0.valid):
        m.d.comb += Assert(component.load0.payload.address < _LOAD_WORDS)


def _link_keeps_rules(m: Module, component: ByteLink) -> None:
    m.submodules.component = component
    drive(m, component)
    for name, port in streams_of(component, Out).items():
        stream_rules(m, port, name)
    events, tap = component.events, component.tap
    owed, fired = Signal(4, name="owed"), Signal(name="fired")
    ticked = events.valid & events.ready & (events.payload.kind == Kind.TICK)
    closed = tap.strobe & (tap.token.kind == Kind.TICK)
    m.d.sync += owed.eq(owed + ticked - closed)
    event = tap.strobe & (tap.token.kind == Kind.EVENT)
    m.d.sync += fired.eq((fired | event) & ~closed)
    m.d.comb += [
        Assume(~tap.strobe | (owed != 0)),
        Assume(~tap.strobe | (tap.token.kind == Kind.EVENT) | (tap.token.kind == Kind.TICK)),
        Assume(~(event & fired)),
    ]


def scheduler_keeps_rules(*, streams: int) -> Build:
    """A tile scheduler's requests and jobs, where no more steps are done than were closed."""

    def build(m: Module) -> None:
        dut = scheduler(streams=streams)
        peek = Peek(m, "scheduler", dut)
        drive(m, dut)
        for name, port in streams_of(dut, Out).items():
            stream_rules(m, port, name)
        # What opens the way for a job is a register, worked out a cycle before.
        open_, reading, closing = (peek.signal(name) for name in ("open_", "reading", "closing"))
        under_way = peek.signal("under_way")
        m.d.comb += [
            Assume(~dut.gated.valid),
            Assume(~dut.step_done | (under_way != 0)),
            Assert(under_way <= dut.steps),
            Assert(~open_ | (~reading & ~closing & (under_way < dut.steps))),
        ]

    return build


def scan_keeps_rules(m: Module) -> None:
    """The logits' stream, where something becomes due only when what was due before has been sent."""
    component = COMPONENTS[LogitScan]()
    m.submodules.component = component
    drive(m, component)
    stream_rules(m, component.o, "o")
    due = Value.cast(component.due)
    pending, before = Signal(), Signal(len(due))
    m.d.sync += before.eq(due)
    with m.If(pending):
        m.d.comb += [Assume(~component.closed), Assume(due == before)]
    with m.If(component.closed):
        m.d.sync += pending.eq(1)
    with m.Elif(component.done):
        m.d.sync += pending.eq(0)
