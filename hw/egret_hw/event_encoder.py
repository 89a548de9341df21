"""Finds the units that fired, sends each as an event, and closes the step with a tick."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import times
from .fifo import PassingFifo
from .neuron_update import result_layout
from .protection import active_guard
from .stream import Kind, index_shape, tap_signature, token_layout

JOBS_DEPTH = 4
"""Jobs that wait at most."""

JOB_BITS = 3
"""A job's kind, and whether it is a TICK."""


class EventEncoder(wiring.Component):
    """Turns the update's results into events for the next layer and for the tile itself.

    It is told in `jobs` what to send, in order: TICK for a step (its events come first), END, PASS. Groups
    in which no unit fired are dropped on the way in, so a cycle is spent per event and not per unit. Events
    come in the order of their units. Events and ticks also go back into the tile, in the cycle in which
    they appear at the output (a turn that is passed counts as a step without events there); END goes to the
    next layer only.

    Every group of the steps that may be under way has a place in the store of groups: the update never waits.

    Latency: two cycles from a result to its first event. Throughput: one event per cycle.

    Parameters
    ----------
    units, lanes, event_bits : N, P and payload width
    steps : steps that may be closed before the TICK of the first of them is taken
    small : queues that take little room, see :class:`~egret_hw.fifo.PassingFifo`

    Members
    -------
    result_strobe, result : In, from :class:`~egret_hw.neuron_update.NeuronUpdate`
    jobs : In, stream of kinds
    o : Out, stream of tokens to the next layer
    recurrent : Out, tap of the tokens that go back into the tile, EVENT and TICK; the queue there has room
        for all
    done : Out, 1 = a step's TICK has gone to the output
    """

    def __init__(self, *, units: int, lanes: int, event_bits: int, steps: int, small: bool = False):
        self.small = small
        self.units = units
        self.lanes = lanes
        self.groups = -(-units // lanes)
        self.depth = steps * self.groups
        self.result_layout = result_layout(units=units, lanes=lanes, event_bits=event_bits)
        self.token_layout = token_layout(units, unsigned(event_bits))
        super().__init__(
            {
                "result_strobe": In(1),
                "result": In(self.result_layout),
                "jobs": In(stream.Signature(job_layout())),
                "o": Out(stream.Signature(self.token_layout)),
                "recurrent": Out(tap_signature(self.token_layout)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Whether a group is the last one follows from its number.
        stored = data.StructLayout(
            {name: field.shape for name, field in self.result_layout if name != "last" or not self.small}
        )
        m.submodules.groups = store = PassingFifo(stored, depth=self.depth, small=self.small)
        # Whether a job is a TICK is worked out on its way in.
        waiting = data.StructLayout({"kind": Kind, "tick": 1})
        m.submodules.jobs = jobs = PassingFifo(waiting, depth=JOBS_DEPTH)
        m.d.comb += [
            jobs.i.payload.kind.eq(self.jobs.payload.kind),
            jobs.i.payload.tick.eq(self.jobs.payload.kind == Kind.TICK),
            jobs.i.valid.eq(self.jobs.valid),
            self.jobs.ready.eq(jobs.i.ready),
            *[getattr(store.i.payload, name).eq(getattr(self.result, name)) for name, _ in stored],
            store.i.valid.eq(self.result_strobe & (self.result.fired.any() | self.result.last)),
        ]
        group, job = store.o.payload, jobs.o.payload.kind
        last = (group.group == self.groups - 1) if self.small else group.last

        # Units of the group at the head of the store that were sent.
        gone = Signal(self.lanes)
        left = Signal(self.lanes)
        lowest = Signal(index_shape(self.lanes))
        value = Signal(self.o.payload.value.shape())
        m.d.comb += left.eq(group.fired & ~gone)
        for lane in reversed(range(self.lanes)):
            with m.If(left[lane]):
                m.d.comb += [lowest.eq(lane), value.eq(group["values"][lane])]

        working = jobs.o.valid & jobs.o.payload.tick & store.o.valid
        event = working & left.any()
        tick = working & ~left.any() & last
        border = jobs.o.valid & ~jobs.o.payload.tick

        free = ~self.o.valid | self.o.ready
        token = {
            "kind": Mux(event, Kind.EVENT, job),
            "index": times(group.group, self.lanes) + lowest,
            "value": value,
        }
        if guard := active_guard():
            guard.fields(m, "token", self.o.payload, token, when=free, valid=self.o.valid)
        m.d.sync += [self.recurrent.strobe.eq(0), self.done.eq(free & tick)]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(event | tick | border),
                *[getattr(self.o.payload, name).eq(field) for name, field in token.items()],
                self.recurrent.strobe.eq(event | tick | (border & (job == Kind.PASS))),
            ]
        m.d.comb += self.recurrent.token.eq(self.o.payload)
        with m.If(self.o.payload.kind == Kind.PASS):  # inside, a step without events
            m.d.comb += self.recurrent.token.kind.eq(Kind.TICK)

        # A group leaves with its last event, or with its tick; one without either is not in the store.
        one_left = (left & (left - 1)[: self.lanes]) == 0 if self.lanes > 1 else 1
        # What is ready does not look at its own `valid`.
        stays = left.any() & ~(one_left & ~last)
        m.d.comb += [
            store.o.ready.eq(free & jobs.o.valid & jobs.o.payload.tick & ~stays),
            jobs.o.ready.eq(free & (~jobs.o.payload.tick | (store.o.valid & ~left.any() & last))),
        ]
        with m.If(free & working):
            m.d.sync += gone.eq(Mux(stays, gone | (left & ~(left - 1)[: self.lanes]), 0))
        return m


def job_layout() -> data.StructLayout:
    """One thing to send: TICK with the events before it, END, or PASS."""
    return data.StructLayout({"kind": Kind})
