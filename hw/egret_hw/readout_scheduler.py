"""Decides what a readout's lanes do next, and when logits are due."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .stream import Kind, token_layout
from .weight_fetch import row_request_layout


class ReadoutScheduler(wiring.Component):
    """Turns tokens of the last layer into requests for rows and borders.

    Logits are due after a TICK in mode "every", after END in the others. Until the logits before them are sent, a border waits, but events
    do not: they fill the other bank.

    Parameters
    ----------
    units : sources
    value : shape of an event
    mode : "mean", "last" or "every"
    max_steps : steps of a sequence at most, counted in mode "mean"

    Members
    -------
    i : In, stream of tokens
    o : Out, stream of requests
    done : In, 1 = all that was due is sent
    busy : Out, 1 = logits (or END) are due and not yet sent
    bank, has_events, steps, scan, closing : Out, of what is due, held while `busy`: the bank that holds the sums, 0 = they count as zero, steps summed up
        in them, 0 = no logits but only the token `closing`, the token that follows the logits
    """

    def __init__(self, *, units: int, value: ShapeLike, mode: str, max_steps: int):
        self.mode = mode
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(units, value))),
                "o": Out(stream.Signature(row_request_layout(rows=units, value=value, sets=1))),
                "done": In(1),
                "busy": Out(1),
                "bank": Out(1),
                "has_events": Out(1),
                "steps": Out(range(max_steps + 1)),
                "scan": Out(1),
                "closing": Out(Kind),
            }
        )

    def elaborate(self, platform):
        m = Module()
        filling = Signal()
        seen = Signal()  # the sum being made has had an event
        last_seen = Signal()  # mode "last": the step before the border had an event
        steps = Signal(self.steps.shape())

        event = self.i.valid & (self.i.payload.kind == Kind.EVENT)
        tick = self.i.valid & (self.i.payload.kind == Kind.TICK)
        end = self.i.valid & (self.i.payload.kind == Kind.END)
        every = self.mode == "every"
        border = (tick | end) if every else end
        quiet_tick = tick & (0 if every else 1)  # a TICK that only counts

        free = ~self.o.valid | self.o.ready
        close = border & ~self.busy
        m.d.comb += self.i.ready.eq(Mux(quiet_tick, 1, free & (event | close)))

        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(event | close),
                self.o.payload.close.eq(close),
                self.o.payload.row.eq(self.i.payload.index),
                self.o.payload.value.eq(self.i.payload.value),
                self.o.payload.set.eq(0),
                self.o.payload.bank.eq(filling),
                self.o.payload.first.eq(~seen),
            ]
            with m.If(event):
                m.d.sync += seen.eq(1)
            with m.Elif(close):
                m.d.sync += [
                    self.busy.eq(1),
                    self.bank.eq(filling),
                    self.has_events.eq(last_seen if self.mode == "last" else seen),
                    self.steps.eq(steps if self.mode == "mean" else 1),
                    self.scan.eq(tick if every else 1),
                    self.closing.eq(Mux(tick, Kind.TICK, Kind.END)),
                    filling.eq(~filling),
                    seen.eq(0),
                    steps.eq(0),
                ]
        with m.If(quiet_tick):
            if self.mode == "last":
                m.d.sync += [last_seen.eq(seen), seen.eq(0)]
            else:
                m.d.sync += steps.eq(steps + 1)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        return m
