"""Finds the units that fired, sends each as an event, and closes the step with a tick."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .neuron_update import result_layout
from .queues import recurrent_layout
from .stream import Kind, index_shape, token_layout


class EventEncoder(wiring.Component):
    """Turns the update's results into events for the next layer and for the tile itself.

    Groups in which no unit fired are dropped on the way in, so a cycle is spent per event and not per unit. Events come in the
    order of their units. Each goes to both streams, and each stream takes it when it is ready. After the last event of a step
    comes TICK, and after it END where one is pending; both only go to the next layer.

    Every group of a step has a place in the store of groups: the update never waits.

    Latency: three cycles from a result to its first event. Throughput: one event per cycle.

    Parameters
    ----------
    units, lanes, event_bits : N, P and payload width

    Members
    -------
    result_strobe, result : In, from :class:`~egret_hw.neuron_update.NeuronUpdate`
    end_pending : In, 1 = END follows the step that is under way, or the last one if none is
    busy : In, 1 = a step is under way
    o : Out, stream of tokens to the next layer
    recurrent : Out, stream of (index, value) back into the tile
    done : Out, 1 = a step's TICK was taken in this cycle
    end_done : Out, 1 = END was taken in this cycle
    """

    def __init__(self, *, units: int, lanes: int, event_bits: int):
        self.units = units
        self.lanes = lanes
        self.groups = -(-units // lanes)
        self.result_layout = result_layout(units=units, lanes=lanes, event_bits=event_bits)
        self.token_layout = token_layout(units, unsigned(event_bits))
        self.recurrent_layout = recurrent_layout(units, event_bits)
        super().__init__(
            {
                "result_strobe": In(1),
                "result": In(self.result_layout),
                "end_pending": In(1),
                "busy": In(1),
                "o": Out(stream.Signature(self.token_layout)),
                "recurrent": Out(stream.Signature(self.recurrent_layout)),
                "done": Out(1),
                "end_done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.groups = store = fifo.SyncFIFOBuffered(
            width=self.result_layout.size, depth=max(self.groups + 1, 3)
        )
        m.d.comb += [
            store.w_data.eq(self.result),
            store.w_en.eq(self.result_strobe & (self.result.fired.any() | self.result.last)),
        ]
        waiting = data.View(self.result_layout, store.r_data)

        # The group being sent; `fired` keeps the units that are still to go.
        group = Signal(self.result_layout, reset_less=True)
        fired = Signal(self.lanes)
        tick = Signal()
        lowest = Signal(index_shape(self.lanes))
        for lane in reversed(range(self.lanes)):
            with m.If(fired[lane]):
                m.d.comb += lowest.eq(lane)
        remaining = fired & (fired - 1)[: self.lanes]

        # A fork: either side may take the event first.
        sent, fed_back = Signal(), Signal()
        event = fired.any()
        index = (group.group * self.lanes + lowest)[: len(self.recurrent.payload.index)]
        value = group["values"][lowest] if self.lanes > 1 else group["values"][0]
        m.d.comb += [
            self.recurrent.payload.index.eq(index),
            self.recurrent.payload.value.eq(value),
            self.recurrent.valid.eq(event & ~fed_back),
            self.o.payload.index.eq(index),
            self.o.payload.value.eq(value),
        ]
        with m.If(event):
            m.d.comb += [self.o.payload.kind.eq(Kind.EVENT), self.o.valid.eq(~sent)]
        with m.Elif(tick):
            m.d.comb += [self.o.payload.kind.eq(Kind.TICK), self.o.valid.eq(1)]
        with m.Elif(self.end_pending & ~self.busy):
            m.d.comb += [self.o.payload.kind.eq(Kind.END), self.o.valid.eq(1)]

        sending, feeding = self.o.valid & self.o.ready, self.recurrent.valid & self.recurrent.ready
        event_done = event & (sent | sending) & (fed_back | feeding)
        with m.If(event):
            m.d.sync += [sent.eq((sent | sending) & ~event_done), fed_back.eq((fed_back | feeding) & ~event_done)]
        m.d.comb += [
            self.done.eq(~event & tick & self.o.ready),
            self.end_done.eq(~event & ~tick & sending),
        ]

        take = Signal()
        m.d.comb += [
            take.eq(Mux(event, event_done & ~remaining.any() & ~tick, ~tick | self.done)),
            store.r_en.eq(take),
        ]
        with m.If(take):
            m.d.sync += [
                group.eq(waiting),
                fired.eq(Mux(store.r_rdy, waiting.fired, 0)),
                tick.eq(store.r_rdy & waiting.last),
            ]
        with m.Elif(event_done):
            m.d.sync += fired.eq(remaining)
        return m


