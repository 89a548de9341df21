"""Finds the units that fired, sends each as an event, and closes the step with a tick."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import LEAST_DEPTH, PassingFifo
from .neuron_update import result_layout
from .stream import Kind, index_shape, token_layout

JOBS_DEPTH = 4


class EventEncoder(wiring.Component):
    """Turns the update's results into events for the next layer and for the tile itself.

    It is told in `jobs` what to send, in order: TICK for a step (its events come first), END, PASS. Groups in which no
    unit fired are dropped on the way in, so a cycle is spent per event and not per unit. Events come in the
    order of their units. Events and ticks go to both streams (a turn that is passed counts as a step without events inside the tile),
    and each stream takes them when it is ready; END goes to the next layer only.

    Every group of the steps that may be under way has a place in the store of groups: the update never waits.

    Latency: one cycle from a result to its first event. Throughput: one event per cycle.

    Parameters
    ----------
    units, lanes, event_bits : N, P and payload width
    steps : steps that may be closed before the TICK of the first of them is taken

    Members
    -------
    result_strobe, result : In, from :class:`~egret_hw.neuron_update.NeuronUpdate`
    jobs : In, stream of kinds
    o : Out, stream of tokens to the next layer
    recurrent : Out, stream of tokens back into the tile: EVENT and TICK
    done : Out, 1 = a step's TICK was taken by both in this cycle
    """

    def __init__(self, *, units: int, lanes: int, event_bits: int, steps: int):
        self.units = units
        self.lanes = lanes
        self.groups = -(-units // lanes)
        self.depth = max(steps * self.groups, LEAST_DEPTH)
        self.result_layout = result_layout(units=units, lanes=lanes, event_bits=event_bits)
        self.token_layout = token_layout(units, unsigned(event_bits))
        super().__init__(
            {
                "result_strobe": In(1),
                "result": In(self.result_layout),
                "jobs": In(stream.Signature(job_layout())),
                "o": Out(stream.Signature(self.token_layout)),
                "recurrent": Out(stream.Signature(self.token_layout)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.groups = store = PassingFifo(self.result_layout, depth=self.depth)
        m.submodules.jobs = jobs = PassingFifo(job_layout(), depth=JOBS_DEPTH)
        wiring.connect(m, wiring.flipped(self.jobs), jobs.i)
        m.d.comb += [
            store.i.payload.eq(self.result),
            store.i.valid.eq(self.result_strobe & (self.result.fired.any() | self.result.last)),
        ]
        group, job = store.o.payload, jobs.o.payload.kind

        # Units of the group at the head of the store that were sent.
        gone = Signal(self.lanes)
        left = Signal(self.lanes)
        lowest = Signal(index_shape(self.lanes))
        m.d.comb += left.eq(group.fired & ~gone)
        for lane in reversed(range(self.lanes)):
            with m.If(left[lane]):
                m.d.comb += lowest.eq(lane)

        working = jobs.o.valid & (job == Kind.TICK) & store.o.valid
        event = working & left.any()
        tick = working & ~left.any() & group.last
        border = jobs.o.valid & (job != Kind.TICK)
        inside = event | tick | (border & (job == Kind.PASS))  # goes back into the tile as well

        payload = Signal(self.token_layout)
        m.d.comb += [
            payload.kind.eq(Mux(event, Kind.EVENT, job)),
            payload.index.eq(group.group * self.lanes + lowest),
            payload.value.eq(group["values"][lowest] if self.lanes > 1 else group["values"][0]),
        ]

        # A fork: either side may take the token first.
        sent, fed_back = Signal(), Signal()
        m.d.comb += [
            self.o.payload.eq(payload),
            self.o.valid.eq((inside | border) & ~sent),
            self.recurrent.payload.eq(payload),
            self.recurrent.valid.eq(inside & ~fed_back),
        ]
        with m.If(job == Kind.PASS):  # inside, a step without events
            m.d.comb += self.recurrent.payload.kind.eq(Kind.TICK)
        sending = sent | (self.o.valid & self.o.ready)
        feeding = ~inside | fed_back | self.recurrent.ready
        taken = (inside | border) & sending & feeding
        m.d.sync += [
            sent.eq((inside | border) & sending & ~taken),
            fed_back.eq(inside & feeding & ~taken),
        ]

        # A group leaves with its last event, or with its tick; one without either is not in the store.
        last_event = event & ((left & (left - 1)[: self.lanes]) == 0)
        m.d.comb += [
            store.o.ready.eq(taken & ((last_event & ~group.last) | tick)),
            jobs.o.ready.eq(taken & (tick | border)),
            self.done.eq(taken & tick),
        ]
        with m.If(store.o.ready):
            m.d.sync += gone.eq(0)
        with m.Elif(taken & event):
            m.d.sync += gone.eq(gone | (left & ~(left - 1)[: self.lanes]))
        return m


def job_layout() -> data.StructLayout:
    """One thing to send: TICK with the events before it, END, or PASS."""
    return data.StructLayout({"kind": Kind})
