"""Decides what a tile's lanes do next: which event's row, or the border of a step."""

from amaranth.hdl import Array, Module, Mux, ShapeLike, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .event_encoder import job_layout
from .protection import active_guard
from .step import step_layout
from .stream import Kind, index_shape, token_layout
from .weight_fetch import row_request_layout

BANKS = 2


class TileScheduler(wiring.Component):
    """Merges input tokens and recurrent events into requests for rows.

    The tile's streams (independent sequences) take their steps in turn. A step gets the input events up to
    its TICK, and the recurrent events of the same stream's step before, which end with a TICK as well. When
    both ticks have come and the bank of the step before has been read, the step closes and the lanes go on
    in the other bank: while step t is updated, its recurrent events (with one stream) and the next step's
    input events already fill it. Recurrent events go first, inputs fill the gaps.

    END takes effect at once: recurrent events of the sequence that ended are dropped, sums that came of
    them do not count, and the stream's next step begins with a state of zero. PASS gives up a turn.

    Where the reset gate acts before the candidates' product (`gate_first`), a step closes twice. First its
    reset gate is worked out; then come its recurrent events anew, gated and for the candidates alone, and a
    tick that closes it for good. Meanwhile inputs of the next step fill the other bank.

    A border rides on the next row if there is one, so it takes no cycle of the lanes; when the lanes have
    nothing to do it does not go through them at all. Throughput: one request per cycle. Latency: one cycle,
    so that a request, once made, stays as it is.

    Parameters
    ----------
    inputs, units, event_bits : I, N and the width of recurrent events
    input_value, value : shapes of input events and of the value in a request
    input_shift, recurrent_shift : what an event's value is shifted by, so that both kinds of sums have one
        fraction
    streams : C
    gate_first : reset="before"
    steps : steps that may be closed before the TICK of the first of them is taken

    Members
    -------
    i : In, stream of input tokens
    recurrent : In, stream of recurrent tokens
    gated : In, stream of gated recurrent tokens; silent unless `gate_first`
    o : Out, stream of requests
    jobs : Out, stream of what the encoder sends: TICK, END, PASS
    lanes_empty : In, 1 = no row is under way behind `o`
    close_now : Out, 1 = the step closed, and since nothing is under way its sums are complete
    read_done : In, from the gather: the closed bank was read
    step_done : In, from the encoder: a step's TICK was taken
    bank, step : Out, of the step closed last, held until `read_done`
    blocked : Out, 1 = the input TICK waits for an update
    """

    def __init__(
        self,
        *,
        inputs: int,
        units: int,
        event_bits: int,
        input_value: ShapeLike,
        value: ShapeLike,
        input_shift: int,
        recurrent_shift: int,
        streams: int,
        steps: int,
        gate_first: bool = False,
    ):
        self.inputs = inputs
        self.input_shift = input_shift
        self.recurrent_shift = recurrent_shift
        self.streams = streams
        self.steps = steps
        self.gate_first = gate_first
        self.request = row_request_layout(rows=inputs + units, value=value, banks=BANKS)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(inputs, input_value))),
                "recurrent": In(stream.Signature(token_layout(units, unsigned(event_bits)))),
                "gated": In(stream.Signature(token_layout(units, unsigned(event_bits)))),
                "o": Out(stream.Signature(self.request)),
                "jobs": Out(stream.Signature(job_layout())),
                "lanes_empty": In(1),
                "close_now": Out(1),
                "read_done": In(1),
                "step_done": In(1),
                "bank": Out(1),
                "step": Out(step_layout(streams=streams)),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        filling = Signal()  # bank that the lanes fill
        reading = Signal()  # the other one is closed and not yet read
        closing = Signal()  # a border waits for its request
        under_way = Signal(range(self.steps + 1))  # steps closed, their TICK not taken
        open_ = Signal(init=1)  # no border waits and no step before this one is in the way

        # Of the step being filled.
        stream_ = Signal(index_shape(self.streams))
        before = Signal(index_shape(self.streams))  # stream of the turn before
        seen_input, seen_recurrent = Signal(), Signal()
        recurrent_done = Signal(init=1)  # its recurrent events have all come
        unprimed = Signal(range(self.streams + 1), init=self.streams)  # turns that have no step before them

        # Of the step that waits for its gated events (`gate_first`): closed once, to be closed again.
        gating, gating_bank, seen_gated = Signal(), Signal(), Signal()

        # Of each stream: its next step is a sequence's first; recurrent events are of a sequence that has
        # ended.
        fresh = Array(Signal(name=f"fresh{n}", init=1) for n in range(self.streams))
        dropping = Array(Signal(name=f"dropping{n}") for n in range(self.streams))

        def head(port, kind):
            return port.valid & (port.payload.kind == kind)

        event, tick = head(self.i, Kind.EVENT), head(self.i, Kind.TICK)
        end, pass_ = head(self.i, Kind.END), head(self.i, Kind.PASS)
        drop = dropping[stream_]
        recurrent_event = head(self.recurrent, Kind.EVENT) & ~recurrent_done
        recurrent_tick = head(self.recurrent, Kind.TICK) & ~recurrent_done
        complete = recurrent_done | recurrent_tick

        free = ~self.o.valid | self.o.ready  # the output register takes a request in this cycle
        take_gated = head(self.gated, Kind.EVENT) & ~reading
        take_recurrent = recurrent_event & ~drop & ~take_gated
        reopen = head(self.gated, Kind.TICK) & ~reading & ~closing  # closes a step for the second time
        ready_to_turn = complete & ~closing & self.jobs.ready
        close, skip, finish = Signal(), Signal(), Signal()
        held = reading | gating | (under_way == self.steps)  # a step before this one is in the way
        m.d.comb += [
            self.blocked.eq((tick | pass_) & (~complete | held)),
            close.eq(tick & complete & open_ & self.jobs.ready),
            self.gated.ready.eq(Mux(head(self.gated, Kind.TICK), reopen, take_gated & free)),
            skip.eq(pass_ & ready_to_turn),
            finish.eq(end & self.jobs.ready),
            self.recurrent.ready.eq(~recurrent_done & (recurrent_tick | drop | (free & ~take_gated))),
            self.i.ready.eq(Mux(event, free & ~take_recurrent & ~take_gated, close | skip | finish)),
            self.jobs.valid.eq((tick & complete & open_) | (pass_ & complete & ~closing) | end),
            self.jobs.payload.kind.eq(self.i.payload.kind),
        ]

        chosen = Signal(self.request)
        first = ~seen_input & ~seen_recurrent
        m.d.comb += [
            chosen.close.eq(closing),
            chosen.fetch.eq(take_gated | take_recurrent | event),
            chosen.bank.eq(Mux(take_gated, gating_bank, filling)),
            chosen.first.eq(first),
            chosen.recurrent.eq(take_recurrent),
            chosen.gated.eq(take_gated),
        ]
        with m.If(take_gated):
            m.d.comb += [
                chosen.row.eq(self.gated.payload.index + self.inputs),
                chosen.value.eq(self.gated.payload.value.shift_left(self.recurrent_shift)),
                chosen.first_kind.eq(~self.step.has_input & ~seen_gated),
            ]
        with m.Elif(take_recurrent):
            m.d.comb += [
                chosen.row.eq(self.recurrent.payload.index + self.inputs),
                chosen.value.eq(self.recurrent.payload.value.shift_left(self.recurrent_shift)),
                chosen.first_kind.eq(~seen_recurrent),
            ]
        with m.Else():
            m.d.comb += [
                chosen.row.eq(self.i.payload.index),
                chosen.value.eq(self.i.payload.value.shift_left(self.input_shift)),
                chosen.first_kind.eq(~seen_input),
            ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(take_gated | take_recurrent | event | closing),
                self.o.payload.eq(chosen),
                closing.eq(0),
            ]
            with m.If(take_gated):
                m.d.sync += seen_gated.eq(1)
            with m.Elif(take_recurrent):
                m.d.sync += seen_recurrent.eq(1)
            with m.Elif(event):
                m.d.sync += seen_input.eq(1)

        if guard := active_guard():
            guard.register(m, "request", self.o.payload, chosen, when=free, valid=self.o.valid)

        with m.If(self.read_done):
            m.d.sync += reading.eq(0)
        m.d.sync += under_way.eq(under_way + close - self.step_done)
        # A step that closes is in the way of the next one: what else may be is known without it.
        waits = (reading & ~self.read_done) | gating | (closing & ~free)
        full = (under_way == self.steps) & ~self.step_done
        m.d.sync += open_.eq(~waits & ~full & ~close & ~reopen)
        with m.If(recurrent_tick):
            m.d.sync += recurrent_done.eq(1)

        at_rest = self.lanes_empty & ~self.o.valid
        m.d.sync += self.close_now.eq(0)
        with m.If(close | reopen):
            m.d.sync += [reading.eq(1), closing.eq(~at_rest), self.close_now.eq(at_rest)]
        with m.If(reopen):
            m.d.sync += [
                gating.eq(0),
                self.bank.eq(gating_bank),
                self.step.gate.eq(0),
                self.step.has_input.eq(self.step.has_input | seen_gated),  # of the candidates' only sums
            ]
        with m.If(close):
            if self.gate_first:
                m.d.sync += [gating.eq(1), gating_bank.eq(filling), seen_gated.eq(0), self.step.gate.eq(1)]
            m.d.sync += [
                filling.eq(~filling),
                self.bank.eq(filling),
                self.step.has_any.eq(~first),
                self.step.has_input.eq(seen_input),
                self.step.has_recurrent.eq(seen_recurrent),
                self.step.fresh.eq(fresh[stream_]),
                self.step.stream.eq(stream_),
                fresh[stream_].eq(0),
            ]
        with m.If(close | skip):
            m.d.sync += [
                seen_input.eq(0),
                seen_recurrent.eq(0),
                dropping[stream_].eq(0),
                before.eq(stream_),
                stream_.eq(Mux(stream_ == self.streams - 1, 0, stream_ + 1)),
                recurrent_done.eq(unprimed > 1),
                unprimed.eq(Mux(unprimed == 0, 0, unprimed - 1)),
            ]
        with m.If(finish):
            m.d.sync += [fresh[before].eq(1), dropping[before].eq(1)]
            if self.streams == 1:  # what the ended sequence has sent back so far is in the sums of this turn
                m.d.sync += [seen_input.eq(0), seen_recurrent.eq(0)]
        return m
