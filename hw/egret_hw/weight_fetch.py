"""Turns requests for rows into one memory address per cycle, without a gap between rows."""

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import times
from .geometry import GATES
from .protection import active_guard
from .stream import index_shape


def row_request_layout(*, rows: int, value: ShapeLike, banks: int) -> data.StructLayout:
    """What a scheduler asks of :class:`WeightFetch`.

    Members
    -------
    close : 1 = the step before this request is complete
    fetch : 1 = there is a row to fetch (behind the border, if `close` is 1 as well)
    row : row of the weight memory
    value : event value, the other factor of every weight in the row
    recurrent : 1 = a recurrent event
    gated : 1 = a recurrent event that the reset gate has acted on, for candidates alone (reset="before")
    bank : bank of accumulators
    first : 1 = the first row of its step, so its products replace the sums
    first_kind : 1 = the first row of its step of this kind (input or recurrent)
    """
    return data.StructLayout(
        {"close": 1, "fetch": 1, "row": index_shape(rows), **_tag(value=value, banks=banks)}
    )


def word_layout(*, words: int, value: ShapeLike, banks: int) -> data.StructLayout:
    """What travels with each word of weights from :class:`WeightFetch` to the lanes.

    Members
    -------
    word : number of the word in its row
    third, phase : that number divided by 3, and what remains
    value, recurrent, gated, bank, first, first_kind : as in the request
    """
    return data.StructLayout(
        {
            "word": index_shape(words),
            "third": index_shape(-(-words // GATES)),
            "phase": range(GATES),
            **_tag(value=value, banks=banks),
        }
    )


def _tag(*, value: ShapeLike, banks: int) -> dict:
    return {
        "value": Shape.cast(value),
        "recurrent": 1,
        "gated": 1,
        "bank": index_shape(banks),
        "first": 1,
        "first_kind": 1,
    }


class WeightFetch(wiring.Component):
    """Reads one row of weights per event: `words` addresses, one per cycle.

    The next request waits here with its address worked out, so the first word of a row follows the last
    word of the row before it. A border (`close`) rides on the row behind it and costs nothing; alone it
    takes a cycle.

    Latency: two cycles from an accepted request to its first word when idle. Throughput: a word in every
    cycle while requests wait. The words cannot be stalled: lanes take one in every cycle.

    Members
    -------
    i : In, stream of :func:`row_request_layout`
    hold : In, 1 = no word goes out in this cycle
    strobe : Out, 1 = `address` and `word` are valid in this cycle
    close : Out, 1 = the words of a step all went out before this cycle
    idle : Out, 1 = no request is under way or waits
    address : Out, address in the weight memory
    word : Out, :func:`word_layout`
    """

    def __init__(self, *, rows: int, words: int, value: ShapeLike, banks: int):
        self.rows = rows
        self.words = words
        self.request = row_request_layout(rows=rows, value=value, banks=banks)
        super().__init__(
            {
                "i": In(stream.Signature(self.request)),
                "hold": In(1),
                "strobe": Out(1),
                "close": Out(1),
                "idle": Out(1),
                "address": Out(index_shape(rows * words)),
                "word": Out(word_layout(words=words, value=value, banks=banks)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        next_, next_valid = Signal(self.request, name="next", reset_less=True), Signal()
        next_address = Signal(self.address.shape(), reset_less=True)
        current, current_valid = Signal(self.request, name="current", reset_less=True), Signal()
        opening = Signal()  # first cycle of the current request
        address = Signal(self.address.shape(), reset_less=True)
        word = Signal(self.word.word.shape(), reset_less=True)
        third = Signal(self.word.third.shape(), reset_less=True)
        phase = Signal(range(GATES), reset_less=True)
        # The current request, if any, ends with this cycle's word. A register, since so much hangs on it.
        ends = Signal(init=1)

        done = Signal()
        m.d.comb += [
            done.eq(ends & ~self.hold),
            # With two words or more there is time to refill after the current row has moved on, and
            # what happens there stays out of the requests' way.
            self.i.ready.eq(~next_valid | done if self.words == 1 else ~next_valid),
        ]
        with m.If(done):
            m.d.sync += next_valid.eq(0)
        with m.If(self.i.ready):
            m.d.sync += [
                next_.eq(self.i.payload),
                next_valid.eq(self.i.valid),
                next_address.eq(times(self.i.payload.row, self.words)),
            ]
        m.d.sync += opening.eq(done & next_valid)
        with m.If(done):
            m.d.sync += [
                current.eq(next_),
                current_valid.eq(next_valid),
                address.eq(next_address),
                word.eq(0),
                third.eq(0),
                phase.eq(0),
                ends.eq(~next_valid | ~next_.fetch | (self.words == 1)),
            ]
        with m.Elif(~self.hold):
            m.d.sync += [
                address.eq(address + 1),
                word.eq(word + 1),
                third.eq(third + (phase == GATES - 1)),
                phase.eq(Mux(phase == GATES - 1, 0, phase + 1)),
                ends.eq(word == self.words - 2),
            ]

        if guard := active_guard():
            guard.register(m, "next", next_, self.i.payload, when=self.i.ready, valid=next_valid)
            guard.register(m, "current", current, next_, when=done, valid=current_valid)
            # Where the row lies is worked out when a request comes in, and counted on from there.
            row_address = times(self.i.payload.row, self.words)
            guard.register(m, "next_address", next_address, row_address, when=self.i.ready, valid=next_valid)
            counted = [
                address + 1,
                word + 1,
                third + (phase == GATES - 1),
                Mux(phase == GATES - 1, 0, phase + 1),
            ]
            place = [address, word, third, phase]
            begun = [next_address, 0, 0, 0]
            for register, first, then in zip(place, begun, counted, strict=True):
                arriving = Mux(done, first, then)[: len(register)]
                guard.register(m, register.name, register, arriving, when=~self.hold, valid=current_valid)

        m.d.comb += [
            self.strobe.eq(current_valid & current.fetch & ~self.hold),
            self.close.eq(opening & current.close),
            self.idle.eq(~next_valid & ~current_valid),
            self.address.eq(address),
            self.word.word.eq(word),
            self.word.third.eq(third),
            self.word.phase.eq(phase),
        ]
        for name in ("value", "recurrent", "gated", "bank", "first", "first_kind"):
            m.d.comb += getattr(self.word, name).eq(getattr(current, name))
        return m
