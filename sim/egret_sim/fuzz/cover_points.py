"""Cover points in the hardware: situations in which a design like this one goes wrong, if it does.

Each is an expression over ports of the components, true in a cycle in which the situation is there. The
hardware itself is not changed: the counters stand beside it, in a top module of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Module, ResetSignal, Signal, Value

from egret_hw.readout import ReadoutTile
from egret_hw.stream import Kind
from egret_hw.tile import Tile


@dataclass(frozen=True)
class Past:
    """Registers of a tile's observer.

    ``under_way``: steps closed whose TICK has not gone out. ``recurrent``: a recurrent event was taken in the
    cycle before. ``fetched``: the lanes got a word in the cycle before. ``one_word``: rows have one word.
    ``waiting``: steps whose recurrent events wait to be added.
    """

    under_way: Value
    recurrent: Value
    fetched: Value
    waiting: Value
    one_word: bool


def _taken(port) -> Value:
    return port.valid & port.ready


def _stalled(port) -> Value:
    return port.valid & ~port.ready


def _is(port, kind) -> Value:
    # Members of an Amaranth enumeration are numbers to a type checker.
    return port.payload.kind == kind


TilePoint = Callable[[Tile, Past], Value]
#: Name of a point -> when a layer's tile is there.
TILE_POINTS: dict[str, TilePoint] = {
    "queue full": lambda t, p: _stalled(t.i),
    "an event waits in both queues": lambda t, p: (
        t.scheduler.i.valid
        & _is(t.scheduler.i, Kind.EVENT)
        & t.scheduler.recurrent.valid
        & _is(t.scheduler.recurrent, Kind.EVENT)
    ),
    "recurrent events of all streams wait": lambda t, p: (
        p.waiting == t.streams if t.streams > 1 else Value.cast(0)
    ),
    "a gated event, and one in both queues": lambda t, p: (
        t.scheduler.gated.valid & t.scheduler.i.valid & t.scheduler.recurrent.valid
    ),
    "a row waits for the row before it": lambda t, p: _stalled(t.scheduler.o),
    "a border rides on a row": lambda t, p: (
        _taken(t.scheduler.o) & t.scheduler.o.payload.close & t.scheduler.o.payload.fetch
    ),
    "a border goes through the lanes alone": lambda t, p: (
        _taken(t.scheduler.o) & t.scheduler.o.payload.close & ~t.scheduler.o.payload.fetch
    ),
    "a border with the lanes at rest": lambda t, p: t.scheduler.close_now,
    "a TICK waits for the update before it": lambda t, p: t.scheduler.blocked,
    "output stalled": lambda t, p: _stalled(t.o),
    "banks swapped while the output is stalled": lambda t, p: (
        _taken(t.scheduler.jobs) & _is(t.scheduler.jobs, Kind.TICK) & _stalled(t.o)
    ),
    "banks swapped while an update is under way": lambda t, p: (
        _taken(t.scheduler.jobs) & _is(t.scheduler.jobs, Kind.TICK) & (p.under_way != 0)
    ),
    "lanes add while sums are read": lambda t, p: t.fetch.strobe & t.gather.reading,
    "END during an update": lambda t, p: (
        _taken(t.scheduler.jobs) & _is(t.scheduler.jobs, Kind.END) & (p.under_way != 0)
    ),
    "END with nothing under way": lambda t, p: (
        _taken(t.scheduler.jobs) & _is(t.scheduler.jobs, Kind.END) & (p.under_way == 0)
    ),
    "PASS": lambda t, p: _taken(t.scheduler.jobs) & _is(t.scheduler.jobs, Kind.PASS),
    "a recurrent event dropped after END": lambda t, p: (
        p.recurrent & ~(t.scheduler.o.valid & t.scheduler.o.payload.recurrent)
    ),
    "rows of one word in a row: the sum is forwarded": lambda t, p: (
        p.fetched & t.fetch.strobe if p.one_word else Value.cast(0)
    ),
    "the same for a recurrent event": lambda t, p: (
        p.fetched & t.fetch.strobe & t.fetch.word.recurrent if p.one_word else Value.cast(0)
    ),
    "the same for a gated event": lambda t, p: (
        p.fetched & t.fetch.strobe & t.fetch.word.gated if p.one_word else Value.cast(0)
    ),
    "a step without any event": lambda t, p: t.gather.done & ~t.scheduler.step.has_any,
    "a step with input events alone": lambda t, p: (
        t.gather.done & t.scheduler.step.has_input & ~t.scheduler.step.has_recurrent
    ),
    "a step with recurrent events alone": lambda t, p: (
        t.gather.done & ~t.scheduler.step.has_input & t.scheduler.step.has_recurrent
    ),
    "a first step with events": lambda t, p: (
        t.gather.done & t.scheduler.step.fresh & t.scheduler.step.has_any
    ),
    "sums read for the reset gate": lambda t, p: t.gather.done & t.scheduler.step.gate,
    "an event of the last unit": lambda t, p: (
        _taken(t.o) & _is(t.o, Kind.EVENT) & (t.o.payload.index == t.layer.spec.units - 1)
    ),
    "the encoder's jobs full": lambda t, p: _stalled(t.scheduler.jobs),
    "an event stalled on its way out": lambda t, p: _stalled(t.o) & _is(t.o, Kind.EVENT),
    "END stalled on its way out": lambda t, p: _stalled(t.o) & _is(t.o, Kind.END),
    "reset during an update": lambda t, p: ResetSignal() & (p.under_way != 0),
    "reset with events in both queues": lambda t, p: (
        ResetSignal() & t.scheduler.i.valid & t.scheduler.recurrent.valid
    ),
}

#: The same of the readout.
READOUT_POINTS: dict[str, Callable[[ReadoutTile], Value]] = {
    "readout: queue full": lambda r: _stalled(r.i),
    "readout: logits stalled": lambda r: _stalled(r.o),
    "readout: END of the logits stalled": lambda r: _stalled(r.o) & _is(r.o, Kind.END),
    "readout: a border waits for the logits before it": lambda r: (
        _stalled(r.scheduler.i) & (r.scheduler.i.payload.kind != Kind.EVENT)
    ),
    "readout: events are added while logits go out": lambda r: (
        _taken(r.scheduler.o) & r.scheduler.o.payload.fetch & r.o.valid
    ),
    "readout: logits without a single event": lambda r: r.scheduler.done & ~r.scheduler.due.has_events,
    "readout: PASS": lambda r: _taken(r.scheduler.i) & _is(r.scheduler.i, Kind.PASS),
    "readout: reset while logits go out": lambda r: ResetSignal() & r.o.valid,
}

HARDWARE_POINTS = [*TILE_POINTS, *READOUT_POINTS]


def observe(m: Module, tile: Tile, number: int) -> Past:
    """Make the registers that a tile's points need."""
    scheduler = tile.scheduler
    under_way = Signal(range(scheduler.steps + 1), name=f"under_way{number}")
    closed = _taken(scheduler.jobs) & _is(scheduler.jobs, Kind.TICK)
    m.d.sync += under_way.eq(under_way + closed - scheduler.step_done)
    recurrent = Signal(name=f"recurrent{number}")
    m.d.sync += recurrent.eq(_taken(scheduler.recurrent) & _is(scheduler.recurrent, Kind.EVENT))
    fetched = Signal(name=f"fetched{number}")
    m.d.sync += fetched.eq(tile.fetch.strobe)
    waiting = Signal(range(tile.streams + 1), name=f"waiting{number}")
    sent = tile.recurrent.i.valid & _is(tile.recurrent.i, Kind.TICK)
    taken = _taken(scheduler.recurrent) & _is(scheduler.recurrent, Kind.TICK)
    m.d.sync += waiting.eq(waiting + sent - taken)
    return Past(under_way, recurrent, fetched, waiting, tile.geometry.words == 1)
