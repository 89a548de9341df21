"""A tile tells its counters of each event that came in or back once.

That they count what they are told is :func:`~egret_sim.formal.counting.counters_add_up`.
"""

from typing import Any

from amaranth.hdl import Assert, Assume, Module, Signal, Value

from egret_hw.fifo import PassingFifo
from egret_hw.queues import RecurrentQueue
from egret_hw.stream import Kind

from .contracts import seen
from .proof import Build
from .streams import tile
from .tiles import driven

#: Bits of what is owed: more than can wait in the queues.
_BITS = 5


def counters_tell(*, units: int, lanes: int, **options: Any) -> Build:
    """What was taken and not told yet is what waits in the queues or for the weight fetch.

    Input events are those that the tile takes at its input; recurrent ones those that its encoder sends back,
    less those that are dropped because their sequence has ended; with `reset="before"` gated ones as well.
    `tile/*` shows that the queues of events that come back have a place for each. One stream.
    """

    def build(m: Module) -> None:
        dut = tile(lanes=lanes, units=units, **options)
        peek = driven(m, dut)
        scheduler, counters = dut.scheduler, peek.part("counters")
        inner = peek.inside("scheduler")
        dropping, turn, before = (inner.signal(name) for name in ("dropping0", "stream_", "before"))
        request = scheduler.o.payload
        at_door = scheduler.o.valid & request.fetch

        # Recurrent events of a sequence that has ended are dropped, up to the next turn.
        ended = Signal()
        with m.If(_taken(scheduler.jobs, Kind.END)):
            m.d.sync += ended.eq(1)
        with m.Elif(_taken(scheduler.jobs, Kind.TICK) | _taken(scheduler.jobs, Kind.PASS)):
            m.d.sync += ended.eq(0)
        dropped = ended & _taken(scheduler.recurrent, Kind.EVENT)

        returned, waiting = Value.cast(0), Value.cast(0)
        ways = [(dut.encoder, dut.recurrent)]
        if scheduler.gate_first:
            ways.append((peek.part("gate_encoder"), peek.part("gated")))
        for encoder, queue in ways:
            back = encoder.recurrent
            returned = returned + (back.strobe & (back.token.kind == Kind.EVENT))
            waiting = waiting + _events(m, queue)
            m.d.comb += Assume(~queue.i.valid | queue.i.ready)

        m.d.comb += [Assert(ended == dropping), Assert(~turn & ~before)]
        m.d.comb += Assert(counters.strobe == peek.part("macs").strobe)
        again = request.recurrent | request.gated
        for name, more, less, waits in (
            (
                "inputs",
                _taken(dut.i, Kind.EVENT),
                counters.input_event,
                _events(m, peek.part("queue")) + (at_door & ~again),
            ),
            ("recurrent", returned, counters.recurrent_event + dropped, waiting + (at_door & again)),
        ):
            owed = Signal(_BITS, name=f"owed_{name}")
            m.d.sync += owed.eq(owed + more - less)
            m.d.comb += Assert(owed == waits)

    return build


def _taken(port, kind) -> Value:
    """A token of this kind is taken."""
    return port.valid & port.ready & (port.payload.kind == kind)


def _events(m: Module, queue: PassingFifo | RecurrentQueue) -> Value:
    """How many events wait in a queue that is made by its contract."""
    items = seen(queue)
    m.d.comb += Assert(items.count <= len(items.words))
    tokens = [queue.layout(word) for word in items.words]
    return sum(((items.count > place) & (token.kind == Kind.EVENT)) for place, token in enumerate(tokens))
