"""Turns requests for rows into one memory address per cycle, without a gap between rows."""

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .stream import index_shape


def row_request_layout(*, rows: int, value: ShapeLike, sets: int) -> data.StructLayout:
    """What a scheduler asks of :class:`WeightFetch`.

    Members
    -------
    close : 1 = no row, but the border of a step: all sums of `bank` are complete behind it
    row : row of the weight memory
    value : event value, the other factor of every weight in the row
    set : which set of accumulators receives the products (0 input, 1 recurrent)
    bank : which bank of that set
    first : 1 = this is the first row of the step in that set, so its products replace the sums
    """
    return data.StructLayout(
        {
            "close": 1,
            "row": index_shape(rows),
            "value": Shape.cast(value),
            "set": index_shape(sets),
            "bank": 1,
            "first": 1,
        }
    )


def word_layout(*, slots: int, value: ShapeLike, sets: int) -> data.StructLayout:
    """What travels with each word of weights from :class:`WeightFetch` to the lanes.

    Members
    -------
    slot : accumulator in each lane: bank * words per row + word of the row
    value, set, first : as in the request
    """
    return data.StructLayout(
        {"slot": index_shape(slots), "value": Shape.cast(value), "set": index_shape(sets), "first": 1}
    )


class WeightFetch(wiring.Component):
    """Reads one row of weights per event: `words` addresses, one per cycle.

    The next request waits here with its address worked out, so the first word of a row follows the last word of
    the row before it. A `close` request takes one cycle and fetches nothing.

    Latency: two cycles from an accepted request to its first word when idle. Throughput: a word in every cycle while
    requests wait. The words cannot be stalled: lanes take one in every cycle.

    Members
    -------
    i : In, stream of :func:`row_request_layout`
    strobe : Out, 1 = `address` and `word` are valid in this cycle
    close : Out, 1 = a step's last word has gone out before this cycle
    address : Out, address in the weight memory
    word : Out, :func:`word_layout`
    """

    def __init__(self, *, rows: int, words: int, value: ShapeLike, sets: int):
        self.rows = rows
        self.words = words
        self.request = row_request_layout(rows=rows, value=value, sets=sets)
        super().__init__(
            {
                "i": In(stream.Signature(self.request)),
                "strobe": Out(1),
                "close": Out(1),
                "address": Out(index_shape(rows * words)),
                "word": Out(word_layout(slots=2 * words, value=value, sets=sets)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        next_, next_valid = Signal(self.request, reset_less=True), Signal()
        next_address = Signal(self.address.shape(), reset_less=True)
        current, current_valid = Signal(self.request, reset_less=True), Signal()
        address = Signal(self.address.shape(), reset_less=True)
        slot = Signal(index_shape(2 * self.words), reset_less=True)
        remaining = Signal(range(max(self.words, 2)), reset_less=True)

        done = Signal()
        m.d.comb += [
            done.eq(~current_valid | current.close | (remaining == 0)),
            self.i.ready.eq(~next_valid | done),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                next_.eq(self.i.payload),
                next_valid.eq(self.i.valid),
                next_address.eq(_times(self.i.payload.row, self.words)),
            ]
        with m.If(done):
            m.d.sync += [
                current.eq(next_),
                current_valid.eq(next_valid),
                address.eq(next_address),
                slot.eq(Mux(next_.bank, self.words, 0)),
                remaining.eq(self.words - 1),
            ]
        with m.Else():
            m.d.sync += [address.eq(address + 1), slot.eq(slot + 1), remaining.eq(remaining - 1)]

        m.d.comb += [
            self.strobe.eq(current_valid & ~current.close),
            self.close.eq(current_valid & current.close),
            self.address.eq(address),
            self.word.slot.eq(slot),
            self.word.value.eq(current.value),
            self.word.set.eq(current.set),
            self.word.first.eq(current.first),
        ]
        return m


def _times(value, factor: int):
    """`value * factor` as shifts and adds, so that no multiplier block is spent on an address."""
    terms = [value.shift_left(bit) for bit in range(factor.bit_length()) if factor >> bit & 1]
    total = terms[0]
    for term in terms[1:]:
        total = (total + term)[: len(value) + factor.bit_length()]
    return total


