"""A tick never overtakes an event of its step: the tile's scheduler against a plain account of the steps."""

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from egret_hw.stream import Kind
from egret_hw.tile_scheduler import TileScheduler

from .checker import drive, stream_rules
from .peek import Peek
from .proof import Build
from .streams import scheduler

_COUNT_BITS = 5
"""Of all counts here: a bounded proof must not be deeper than they reach."""


def ticks_overtake_nothing(*, streams: int, gate_first: bool = False) -> Build:
    """Each accepted event becomes one request, in order, on its step's side of the border.

    A step closes only when all its inputs and its recurrent events (those of the turn `streams` before it)
    have come, and the bank before it was read. The environment keeps the protocol of docs/numerics.md,
    section 6, sends a recurrent TICK for each step and turn, and reads what was closed; else it does
    anything.
    """

    def build(m: Module) -> None:
        dut = scheduler(streams=streams, gate_first=gate_first)
        m.submodules.scheduler = dut
        drive(m, dut)
        stream_rules(m, dut.o, "o")
        stream_rules(m, dut.jobs, "jobs")
        _account(m, dut)

    return build


def turns_wait(*, streams: int) -> Build:
    """A turn ends only when the recurrent events of the same stream's turn before have all come.

    Whatever the environment does. So with :func:`ticks_overtake_nothing`'s protocol no unit's sums are read
    for a step before its result in the stream's step before went out.
    """

    def build(m: Module) -> None:
        dut = scheduler(streams=streams)
        peek = Peek(m, "scheduler", dut)
        drive(m, dut)
        recurrent_done, unprimed = peek.signal("recurrent_done"), peek.signal("unprimed")
        job, kind = dut.jobs.valid & dut.jobs.ready, dut.jobs.payload.kind
        turned = job & ((kind == Kind.TICK) | (kind == Kind.PASS))
        back = dut.recurrent.valid & dut.recurrent.ready & (dut.recurrent.payload.kind == Kind.TICK)
        ahead = Signal(range(streams + 2))  # turns that ended, and whose recurrent TICK has not come
        m.d.sync += ahead.eq(ahead + turned - back)
        m.d.comb += [
            Assert(~turned | (ahead - back < streams)),
            Assert(~back | (ahead != 0)),
            # For the induction: what the scheduler knows of that.
            Assert(Mux(unprimed == 0, ahead + recurrent_done == streams, ahead + unprimed == streams)),
            Assert((unprimed == 0) | recurrent_done),
        ]

    return build


def _account(m: Module, dut: TileScheduler) -> None:
    streams, gate_first = dut.streams, dut.gate_first

    def count(name: str, by: Value) -> Signal:
        counter = Signal(_COUNT_BITS, name=name)
        m.d.sync += counter.eq(counter + by)
        return counter

    def taken(port, kind=None) -> Value:
        passed = port.valid & port.ready
        return passed if kind is None else passed & (port.payload.kind == kind)

    event_in, tick_in = taken(dut.i, Kind.EVENT), taken(dut.i, Kind.TICK)
    end_in, pass_in = taken(dut.i, Kind.END), taken(dut.i, Kind.PASS)
    recurrent_in, recurrent_tick = taken(dut.recurrent, Kind.EVENT), taken(dut.recurrent, Kind.TICK)
    gated_in, gated_tick = taken(dut.gated, Kind.EVENT), taken(dut.gated, Kind.TICK)
    request, sent = dut.o.payload, taken(dut.o)

    turns = count("turns", tick_in | pass_in)
    closes = count("closes", tick_in)
    passes = count("passes", pass_in)
    recurrent_ticks = count("recurrent_ticks", recurrent_tick)
    border = dut.close_now | (sent & request.close)
    borders = count("borders", border)
    gates = 2 if gate_first else 1  # borders of a step

    turn, before = Signal(range(max(2, streams))), Signal(range(max(2, streams)))
    with m.If(tick_in | pass_in):
        m.d.sync += [before.eq(turn), turn.eq(Mux(turn == streams - 1, 0, turn + 1))]
    under_way = Array(Signal(name=f"under_way{n}") for n in range(streams))  # a sequence is
    ended = Array(Signal(name=f"ended{n}") for n in range(streams))  # and its recurrent events are dropped
    with m.If(tick_in):
        m.d.sync += under_way[turn].eq(1)
    with m.If(tick_in | pass_in):
        m.d.sync += ended[turn].eq(0)
    with m.If(end_in):
        m.d.sync += [under_way[before].eq(0), ended[before].eq(1)]

    unread = Signal()  # a border was issued, and its bank not read yet
    with m.If(border):
        m.d.sync += unread.eq(1)
    with m.Elif(dut.read_done):
        m.d.sync += unread.eq(0)
    not_done = count("not_done", tick_in - dut.step_done)
    gate_open = Signal()  # gated events of a step may come
    with m.If(gated_tick):
        m.d.sync += gate_open.eq(0)
    with m.Elif(dut.read_done & borders[0]):
        m.d.sync += gate_open.eq(1 if gate_first else 0)

    # The environment.
    after_tick, empty = Signal(), Signal(init=1)
    with m.If(taken(dut.i)):
        m.d.sync += [after_tick.eq(tick_in), empty.eq(~event_in)]
    kind, back, gated = dut.i.payload.kind, dut.recurrent.payload.kind, dut.gated.payload.kind
    may_pass = ~under_way[turn] & empty if streams > 1 else Const(0)
    finals = borders >> 1 if gate_first else borders
    m.d.comb += [
        Assume(~dut.i.valid | (kind != Kind.END) | after_tick),
        Assume(~dut.i.valid | (kind != Kind.PASS) | may_pass),
        Assume(~dut.recurrent.valid | (back == Kind.EVENT) | (back == Kind.TICK)),
        Assume(~dut.recurrent.valid | ((recurrent_ticks < turns) & (recurrent_ticks < finals + passes))),
        Assume(~dut.gated.valid | (gate_open & ((gated == Kind.EVENT) | (gated == Kind.TICK)))),
        Assume(~dut.read_done | unread),
        Assume(~dut.step_done | (not_done != 0)),
    ]

    # Jobs are the borders that came in.
    job = taken(dut.jobs)
    m.d.comb += Assert(job == (tick_in | end_in | pass_in))
    m.d.comb += Assert(~job | (dut.jobs.payload.kind == kind))

    # Recurrent events belong to the turn `streams` after theirs, and it waits for them.
    with m.If(taken(dut.recurrent)):
        m.d.comb += Assert(turns == recurrent_ticks + streams)
    with m.If(tick_in | pass_in):
        m.d.comb += Assert(recurrent_ticks + recurrent_tick + streams >= turns + 1)
    # A bank that is closed has been read before the next one closes.
    m.d.comb += Assert(~tick_in | (~unread & (borders == closes * gates)))
    m.d.comb += Assert((borders <= closes * gates) & (closes * gates - borders <= gates))

    # What each accepted event must become.
    kept = data.StructLayout({"request": dut.request, "step": _COUNT_BITS})
    seen_input, seen_recurrent, seen_gated = Signal(), Signal(), Signal()
    recurrent = recurrent_in & ~ended[turn]
    accepted = event_in | recurrent | gated_in
    m.d.comb += Assert(event_in + recurrent + gated_in <= 1)
    new = Signal(kept)
    step = Mux(gated_in, closes - 1, closes)
    had_input = Signal()  # the step that is gated had input events
    m.d.comb += [
        new.step.eq(step),
        new.request.fetch.eq(1),
        new.request.bank.eq(step[0]),
        new.request.recurrent.eq(recurrent),
        new.request.gated.eq(gated_in),
        new.request.row.eq(
            Mux(
                event_in,
                dut.i.payload.index,
                dut.inputs + Mux(gated_in, dut.gated.payload.index, dut.recurrent.payload.index),
            )
        ),
        new.request.value.eq(
            Mux(
                event_in,
                dut.i.payload.value << dut.input_shift,
                Mux(gated_in, dut.gated.payload.value, dut.recurrent.payload.value) << dut.recurrent_shift,
            )
        ),
        new.request.first.eq(~seen_input & ~seen_recurrent),
        new.request.first_kind.eq(
            Mux(event_in, ~seen_input, Mux(gated_in, ~had_input & ~seen_gated, ~seen_recurrent))
        ),
    ]
    with m.If(gated_in):
        m.d.sync += seen_gated.eq(1)
    with m.If(tick_in | pass_in):
        m.d.sync += [seen_input.eq(0), seen_recurrent.eq(0)]
    with m.Elif(end_in & (streams == 1)):
        m.d.sync += [seen_input.eq(0), seen_recurrent.eq(0)]
    with m.Else():
        m.d.sync += [seen_input.eq(seen_input | event_in), seen_recurrent.eq(seen_recurrent | recurrent)]
    with m.If(tick_in):
        m.d.sync += [had_input.eq(seen_input), seen_gated.eq(0)]

    waiting, number = [Signal(kept, name=f"waiting{n}") for n in range(3)], Signal(range(4))
    fetched = sent & request.fetch
    m.d.sync += number.eq(number + accepted - fetched)
    m.d.comb += Assert((number <= 2) & (~fetched | (number != 0)))
    for n, place in enumerate(waiting):
        with m.If(accepted & (number - fetched == n)):
            m.d.sync += place.eq(new)
        with m.Elif(fetched & (n + 1 < len(waiting))):
            m.d.sync += place.eq(waiting[min(n + 1, 2)])
    head = waiting[0]
    issued = borders + (sent & request.close)  # a border stands before the row that it rides on
    with m.If(fetched):
        for name in ("row", "value", "bank", "recurrent", "gated", "first_kind"):
            m.d.comb += Assert(getattr(request, name) == getattr(head.request, name))
        with m.If(head.request.gated):
            m.d.comb += Assert(~request.close & (borders == head.step * gates + 1))
        with m.Else():
            m.d.comb += [
                Assert(request.first == head.request.first),
                Assert((issued + (gates - 1)) >> (gates - 1) == head.step),
            ]
    # Nothing of a step is left when its border is issued; with `close_now`, not even a request.
    with m.If(border & ((borders & (gates - 1)) == 0)):
        left = (number != 0) & (head.step * gates <= borders) & ~head.request.gated
        m.d.comb += Assert(~left)
    with m.If(border & ((borders & (gates - 1)) != 0)):
        m.d.comb += Assert(~((number != 0) & head.request.gated))

    # What is said about the step that closes, and is held until it has been read.
    bank_before, step_before, held = Signal(), Signal.like(Value.cast(dut.step)), Signal()
    m.d.sync += [bank_before.eq(dut.bank), step_before.eq(dut.step), held.eq(unread & ~dut.read_done)]
    with m.If(held):
        m.d.comb += Assert(Cat(bank_before, step_before) == Cat(dut.bank, dut.step))
    first_step = Array(Signal(init=1, name=f"first_step{n}") for n in range(streams))
    facts = Signal(5)
    whose = Signal.like(turn)
    with m.If(tick_in):
        m.d.sync += [
            facts.eq(
                Cat(seen_input | seen_recurrent, seen_input, seen_recurrent, first_step[turn], gate_first)
            ),
            whose.eq(turn),
            first_step[turn].eq(0),
        ]
    with m.If(end_in):
        m.d.sync += first_step[before].eq(1)
    with m.If(border):
        said = dut.step
        m.d.comb += [
            Assert(dut.bank == (borders >> (gates - 1))[0]),
            Assert(said.stream == whose),
            Assert(Cat(said.has_any, said.has_recurrent, said.fresh) == Cat(facts[0], facts[2], facts[3])),
            Assert(said.has_input == (facts[1] | ((borders[0] & seen_gated) if gate_first else 0))),
            Assert(said.gate == (facts[4] & ~borders[0])),
        ]
