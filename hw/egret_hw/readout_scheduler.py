"""Decides what a readout's lanes do next, and when logits are due."""

from amaranth.hdl import Array, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .protection import active_guard
from .stream import Kind, index_shape, token_layout
from .weight_fetch import row_request_layout


def readout_banks(mode: str, streams: int) -> int:
    """Banks of sums: one to fill for each stream whose sums outlive a step, and one to send from."""
    return streams + 1 if mode == "mean" else 2


def due_layout(*, banks: int, max_steps: int) -> data.StructLayout:
    """What is to be sent.

    Members
    -------
    scan : 1 = logits; 0 = only the closing token
    closing : the token that follows the logits
    bank : where their sums are
    has_events : 0 = the sums count as zero
    steps : steps summed up in them
    """
    return data.StructLayout(
        {
            "scan": 1,
            "closing": Kind,
            "bank": index_shape(banks),
            "has_events": 1,
            "steps": range(max_steps + 1),
        }
    )


class ReadoutScheduler(wiring.Component):
    """Turns tokens of the last layer into requests for rows and borders.

    Logits are due after a TICK in mode "every", after END in the others. Until the logits before them are
    sent, a border waits, but events do not: they fill another bank.

    Parameters
    ----------
    units : sources
    value : shape of an event
    mode : "mean", "last" or "every"
    max_steps : steps of a sequence at most, counted in mode "mean"
    streams : independent sequences whose steps come in turn

    Members
    -------
    i : In, stream of tokens
    o : Out, stream of requests
    done : In, 1 = all that was due is sent
    due : Out, :func:`due_layout`, held until `done`
    """

    def __init__(self, *, units: int, value: ShapeLike, mode: str, max_steps: int, streams: int):
        self.mode = mode
        self.streams = streams
        self.banks = readout_banks(mode, streams)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(units, value))),
                "o": Out(stream.Signature(row_request_layout(rows=units, value=value, banks=self.banks))),
                "done": In(1),
                "due": Out(due_layout(banks=self.banks, max_steps=max_steps)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        every, mean = self.mode == "every", self.mode == "mean"
        busy = Signal()  # something is due and not yet sent
        # In mode "mean" each stream has sums of its own; in the others a step's sums are used up at its end.
        contexts = self.streams if mean else 1
        filling = Array(Signal(index_shape(self.banks), name=f"filling{n}", init=n) for n in range(contexts))
        spare = Signal(index_shape(self.banks), init=contexts)
        seen = Array(Signal(name=f"seen{n}") for n in range(contexts))  # the sums have had an event
        steps = Array(Signal(self.due.steps.shape(), name=f"steps{n}") for n in range(contexts))
        before_seen = Signal()  # mode "last": the same of the step before
        turn, before = Signal(index_shape(contexts)), Signal(index_shape(contexts))

        event = self.i.valid & (self.i.payload.kind == Kind.EVENT)
        tick = self.i.valid & (self.i.payload.kind == Kind.TICK)
        end = self.i.valid & (self.i.payload.kind == Kind.END)
        pass_ = self.i.valid & (self.i.payload.kind == Kind.PASS)
        # END belongs to the turn before: its TICK has already ended it.
        context = Mux(end, before, turn) if mean else 0

        free = ~self.o.valid | self.o.ready
        border = (tick | end) if every else end
        # Borders are rare enough to wait for an empty register, and for the step before to be counted.
        ticked, ticked_context = Signal(), Signal.like(turn)
        closes = ~busy & ~self.o.valid & ~ticked
        close = border & closes
        # `ready` looks at the payload alone, which has nothing to say when it is not valid.
        kind = self.i.payload.kind
        closing = (kind == Kind.END) | ((kind == Kind.TICK) if every else 0)
        m.d.comb += self.i.ready.eq(Mux(kind == Kind.EVENT, free, ~closing | closes))

        request = {
            "close": close,
            "fetch": event,
            "row": self.i.payload.index,
            "value": self.i.payload.value,
            "bank": filling[context],
            "first": ~seen[context],
        }
        due = {
            "scan": tick if every else 1,
            "closing": self.i.payload.kind,
            "bank": filling[context],
            "has_events": before_seen if self.mode == "last" else seen[context],
            "steps": steps[context] if mean else 1,
        }
        if guard := active_guard():
            guard.fields(m, "request", self.o.payload, request, when=free, valid=self.o.valid)
            guard.fields(m, "due", self.due, due, when=close, valid=busy)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(event | close),
                *[getattr(self.o.payload, name).eq(value) for name, value in request.items()],
            ]
            with m.If(event):
                m.d.sync += seen[context].eq(1)
        with m.If(close):
            m.d.sync += [
                busy.eq(1),
                *[getattr(self.due, name).eq(value) for name, value in due.items()],
                filling[context].eq(spare),
                spare.eq(filling[context]),
                seen[context].eq(0),
                steps[context].eq(0),
            ]
        if mean:
            m.d.sync += [ticked.eq(tick), ticked_context.eq(turn)]
            with m.If(ticked):
                m.d.sync += steps[ticked_context].eq(steps[ticked_context] + 1)
            with m.If(tick | pass_):
                m.d.sync += [before.eq(turn), turn.eq(Mux(turn == contexts - 1, 0, turn + 1))]
        elif not every:
            with m.If(tick):
                m.d.sync += [before_seen.eq(seen[context]), seen[context].eq(0)]
        with m.If(self.done):
            m.d.sync += busy.eq(0)
        return m
