"""Weight fetch issues exactly the addresses of the rows that were asked for, in order, without a gap."""

from amaranth.hdl import Assert, Assume, Module, Mux, Signal, unsigned
from amaranth.lib import data

from egret_hw.geometry import GATES
from egret_hw.weight_fetch import WeightFetch

from .checker import drive
from .proof import Build

#: Cycles from an accepted request to its first word, if none is before it.
LATENCY = 2
_TAGS = ("value", "recurrent", "gated", "bank", "first", "first_kind")


def rows_exactly(*, rows: int, words: int, skew: int = 0) -> Build:
    """A list of accepted requests, of which the oldest must explain each word and border in each cycle.

    A request that waits for more than its latency must be served in every cycle, so none is lost and there
    is no gap. `skew` is added to the addresses that are expected (for the twin).
    """

    def build(m: Module) -> None:
        m.submodules.fetch = fetch = WeightFetch(rows=rows, words=words, value=unsigned(2), banks=2)
        drive(m, fetch)
        asked = fetch.i.payload
        m.d.comb += [Assume(asked.row < rows), Assume(asked.fetch | asked.close)]

        # The oldest first; a place for one more than can be under way.
        entry = data.StructLayout({"request": fetch.request, "age": range(2 * words + 4)})
        list_ = [Signal(entry, name=f"asked{n}") for n in range(3)]
        count = Signal(range(4))
        position = Signal(range(words))
        head = list_[0].request
        acting = fetch.strobe | fetch.close
        finished = acting & (~head.fetch | (fetch.strobe & (position == words - 1)))
        accepted = fetch.i.valid & fetch.i.ready
        m.d.sync += count.eq(count + accepted - finished)
        for n, place in enumerate(list_):
            following = list_[n + 1] if n + 1 < len(list_) else place
            with m.If(accepted & (count - finished == n)):
                m.d.sync += [place.request.eq(asked), place.age.eq(1)]
            with m.Else():
                source = Signal(entry, name=f"source{n}")
                m.d.comb += source.eq(Mux(finished, following.as_value(), place.as_value()))
                m.d.sync += [place.request.eq(source.request), place.age.eq(source.age + 1)]
        with m.If(finished):
            m.d.sync += position.eq(0)
        with m.Elif(acting):
            m.d.sync += position.eq(position + 1)

        m.d.comb += [
            Assert(count <= 2),
            Assert(~acting | ((count != 0) & (list_[0].age >= LATENCY))),
            Assert(~fetch.idle | (count == 0)),
            # Served in each cycle from its latency on, so at the end of its row it is this old at most.
            Assert((count == 0) | (list_[0].age < LATENCY) | acting),
            Assert((count == 0) | (list_[0].age <= (2 * words + 1 if words > 1 else LATENCY))),
            Assert((count < 2) | (list_[1].age <= list_[0].age)),
            Assert(position < words),
            Assert((position == 0) | ((count != 0) & head.fetch)),
            # A border comes once, with the first word behind it or alone.
            Assert(~acting | (fetch.close == (head.close & (position == 0)))),
            Assert(~acting | (fetch.strobe == head.fetch)),
        ]
        if words > 1:
            m.d.comb += Assert((count < 2) | ~fetch.i.ready)
        with m.If(fetch.strobe):
            word = fetch.word
            m.d.comb += [
                Assert(fetch.address == head.row * words + position + skew),
                Assert((word.word == position) & (word.third * GATES + word.phase == position)),
                Assert(word.phase < GATES),
                *[Assert(getattr(word, tag) == getattr(head, tag)) for tag in _TAGS],
            ]

    return build
