"""Cover points in the hardware: situations in which a design like this one goes wrong, if it does.

Each is an expression over ports of the components, true in a cycle in which the situation is there. The
hardware itself is not changed: the counters stand beside it, in a top module of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from amaranth.hdl import Module, ResetSignal, Signal, Value

from egret_hw.accumulator import SUM_READ_LATENCY
from egret_hw.arithmetic import strobe_pipe
from egret_hw.block_sums import BLOCK_SUM_READ_LATENCY
from egret_hw.geometry import CANDIDATE as CANDIDATE_ROW
from egret_hw.geometry import GATES
from egret_hw.readout import ReadoutTile
from egret_hw.stream import Kind
from egret_hw.tile import Tile
from egret_hw.widths import CANDIDATE, CANDIDATE_INPUT, CANDIDATE_RECURRENT, GATE, Bounds


@dataclass(frozen=True)
class Past:
    """Registers of a tile's observer.

    ``under_way``: steps closed whose TICK has not gone out. ``recurrent``: a recurrent event was taken in the
    cycle before. ``fetched``: the lanes got a word in the cycle before. ``one_word``: rows have one word.
    ``waiting``: steps whose recurrent events wait to be added. ``summed``, ``group``: the update got first
    sums of this group in the cycle before.
    """

    under_way: Value
    recurrent: Value
    fetched: Value
    waiting: Value
    summed: Value
    group: Value
    one_word: bool


def _taken(port) -> Value:
    return port.valid & port.ready


def _stalled(port) -> Value:
    return port.valid & ~port.ready


def _is(port, kind) -> Value:
    # Members of an Amaranth enumeration are numbers to a type checker.
    return port.payload.kind == kind


def _at(values: Iterable[Value], bounds: Bounds, side: int) -> Value:
    """Whether a value is within 1 of its upper (`side` 1) or lower bound (-1)."""
    found = Value.cast(0)
    for value in values:
        found = found | (value >= bounds.high - 1 if side > 0 else value <= bounds.low + 1)
    return found


def _sums(tile: Tile, past: Past, kind: str, side: int) -> Value:
    """Whether a sum that the update gets, of this kind, is within 1 of its bound."""
    update, bounds = tile.update, tile.widths.sums.get(kind)
    if bounds is None:
        return Value.cast(0)
    found = Value.cast(0)
    for place in range(tile.update_lanes):
        firsts = [update.firsts[GATES * place + gate] for gate in range(GATES)]
        # Places of the last group beyond the last unit hold anything.
        always = (update.groups - 1) * tile.update_lanes + place < update.units
        real = update.strobe & (1 if always else update.group != update.groups - 1)
        real_before = past.summed & (1 if always else past.group != update.groups - 1)
        if kind == CANDIDATE_RECURRENT:
            found = found | (real_before & _at([update.seconds[place]], bounds, side))
        else:
            found = found | (
                real & _at(firsts[:CANDIDATE_ROW] if kind == GATE else firsts[CANDIDATE_ROW:], bounds, side)
            )
    return found


TilePoint = Callable[[Tile, Past], Value]
#: Name of a kind of sum -> what the widths call it.
_KINDS = {
    "a gate's sum": GATE,
    "a candidate's sum of inputs": CANDIDATE_INPUT,
    "a candidate's sum of recurrent events": CANDIDATE_RECURRENT,
    "a candidate's only sum": CANDIDATE,
}
_SIDES = {"upper": 1, "lower": -1}
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
    **{
        f"{name} at its {end} bound": partial(_sums, kind=kind, side=side)
        for name, kind in _KINDS.items()
        for end, side in _SIDES.items()
    },
}


def _readout_sum(readout: ReadoutTile, summed: Value, side: int) -> Value:
    sums = readout.scan.lane_sums
    values = [sums[lane] for lane in range(readout.lanes)]
    return summed & readout.scan.due.has_events & _at(values, readout.widths.sum, side)


def _logit(readout: ReadoutTile, summed: Value, side: int) -> Value:
    there = _taken(readout.o) & _is(readout.o, Kind.EVENT)
    return there & _at([readout.o.payload.value], readout.widths.logit, side)


#: The same of the readout; the second argument is 1 when the scan gets the sums that it asked for.
READOUT_POINTS: dict[str, Callable[[ReadoutTile, Value], Value]] = {
    "readout: queue full": lambda r, s: _stalled(r.i),
    "readout: logits stalled": lambda r, s: _stalled(r.o),
    "readout: END of the logits stalled": lambda r, s: _stalled(r.o) & _is(r.o, Kind.END),
    "readout: a border waits for the logits before it": lambda r, s: (
        _stalled(r.scheduler.i) & (r.scheduler.i.payload.kind != Kind.EVENT)
    ),
    "readout: events are added while logits go out": lambda r, s: (
        _taken(r.scheduler.o) & r.scheduler.o.payload.fetch & r.o.valid
    ),
    "readout: logits without a single event": lambda r, s: r.scheduler.done & ~r.scheduler.due.has_events,
    "readout: PASS": lambda r, s: _taken(r.scheduler.i) & _is(r.scheduler.i, Kind.PASS),
    "readout: reset while logits go out": lambda r, s: ResetSignal() & r.o.valid,
    **{
        f"readout: a sum at its {end} bound": partial(_readout_sum, side=side) for end, side in _SIDES.items()
    },
    **{f"readout: a logit at its {end} bound": partial(_logit, side=side) for end, side in _SIDES.items()},
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
    summed, group = Signal(name=f"summed{number}"), Signal.like(tile.update.group, name=f"group{number}")
    m.d.sync += [summed.eq(tile.update.strobe), group.eq(tile.update.group)]
    return Past(under_way, recurrent, fetched, waiting, summed, group, tile.geometry.words == 1)


def observe_readout(m: Module, readout: ReadoutTile) -> Value:
    """Make the register that the readout's points need: 1 when the sums that were asked for are there."""
    latency = BLOCK_SUM_READ_LATENCY if readout.compact else SUM_READ_LATENCY
    return strobe_pipe(m, readout.scan.reading, "readout_summed", latency)
