"""Decides what a tile's lanes do next: which event's row, or the border of a step."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .queues import recurrent_layout
from .stream import Kind, token_layout
from .weight_fetch import row_request_layout

INPUT_SET, RECURRENT_SET = 0, 1


class TileScheduler(wiring.Component):
    """Merges input tokens and recurrent events into requests for rows.

    While step t is updated from one bank of sums, its recurrent events and the input events of step t + 1 already fill the other.
    Recurrent events go first, inputs fill the gaps. A step closes when its TICK is at the head of the
    inputs, the update before it is done, and every recurrent event of that update was fetched.

    END takes effect at once: what a finished sequence's last update still sends back is dropped, sums that came of it do not count, and
    the next step begins with a state of zero. END itself is handed to the encoder, which sends it behind the last TICK.

    Throughput: one request per cycle. Latency: one cycle, so that a request, once made, stays as it is.

    Parameters
    ----------
    inputs, units, event_bits : I, N and the width of recurrent events
    input_value, value : shapes of input events and of the value in a request

    Members
    -------
    i : In, stream of input tokens
    recurrent : In, stream of recurrent events
    recurrent_empty : In, 1 = no recurrent event waits, visible or not
    o : Out, stream of requests
    done, end_done : In, from the encoder: TICK, END were sent
    busy : Out, 1 = a step was closed and its TICK is not sent
    end_pending : Out, 1 = END is to be sent
    bank, has_input, has_recurrent, fresh : Out, of the step under way, held while `busy`
    """

    def __init__(self, *, inputs: int, units: int, event_bits: int, input_value: ShapeLike, value: ShapeLike):
        self.inputs = inputs
        self.request = row_request_layout(rows=inputs + units, value=value, sets=2)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(inputs, input_value))),
                "recurrent": In(stream.Signature(recurrent_layout(units, event_bits))),
                "recurrent_empty": In(1),
                "o": Out(stream.Signature(self.request)),
                "done": In(1),
                "end_done": In(1),
                "busy": Out(1),
                "end_pending": Out(1),
                "bank": Out(1),
                "has_input": Out(1),
                "has_recurrent": Out(1),
                "fresh": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        filling = Signal()  # bank that the lanes fill
        seen_input, seen_recurrent = Signal(), Signal()
        starting = Signal(init=1)  # the step being filled is the first of its sequence
        dropping = Signal()  # recurrent events belong to a sequence that has ended

        event = self.i.valid & (self.i.payload.kind == Kind.EVENT)
        tick = self.i.valid & (self.i.payload.kind == Kind.TICK)
        end = self.i.valid & (self.i.payload.kind == Kind.END)
        quiet = ~self.busy & self.recurrent_empty

        free = ~self.o.valid | self.o.ready  # the output register takes a request in this cycle
        take_recurrent = Signal()
        close = Signal()
        chosen = Signal(self.request)
        m.d.comb += [
            take_recurrent.eq(self.recurrent.valid & ~dropping),
            close.eq(tick & quiet & ~self.end_pending & ~dropping),
            chosen.close.eq(~take_recurrent & tick),
            chosen.bank.eq(filling),
        ]
        with m.If(take_recurrent):
            m.d.comb += [
                chosen.row.eq(self.recurrent.payload.index + self.inputs),
                chosen.value.eq(self.recurrent.payload.value),
                chosen.set.eq(RECURRENT_SET),
                chosen.first.eq(~seen_recurrent),
            ]
        with m.Else():
            m.d.comb += [
                chosen.row.eq(self.i.payload.index),
                chosen.value.eq(self.i.payload.value),
                chosen.set.eq(INPUT_SET),
                chosen.first.eq(~seen_input),
            ]
        end_taken = end & ~self.end_pending
        m.d.comb += [
            self.recurrent.ready.eq(dropping | free),
            self.i.ready.eq(Mux(end, ~self.end_pending, free & ~take_recurrent & (event | close))),
        ]

        with m.If(free):
            m.d.sync += [self.o.valid.eq(take_recurrent | event | close), self.o.payload.eq(chosen)]
            with m.If(take_recurrent):
                m.d.sync += seen_recurrent.eq(1)
            with m.Elif(event):
                m.d.sync += seen_input.eq(1)
            with m.Elif(close):
                m.d.sync += [
                    self.busy.eq(1),
                    self.bank.eq(filling),
                    self.has_input.eq(seen_input),
                    self.has_recurrent.eq(seen_recurrent),
                    self.fresh.eq(starting),
                    filling.eq(~filling),
                    seen_input.eq(0),
                    seen_recurrent.eq(0),
                    starting.eq(0),
                ]
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.end_done):
            m.d.sync += self.end_pending.eq(0)
        with m.If(end_taken):
            m.d.sync += [
                self.end_pending.eq(1),
                dropping.eq(1),
                seen_input.eq(0),
                seen_recurrent.eq(0),
                starting.eq(1),
            ]
        with m.Elif(quiet):
            m.d.sync += dropping.eq(0)
        return m
