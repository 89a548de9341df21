"""Weight fetch issues exactly the addresses of the rows that were asked for, in order, without a gap."""

from amaranth.hdl import Assert, Assume, Module, Mux, Signal, unsigned
from amaranth.lib import data

from egret_hw.geometry import GATES
from egret_hw.weight_fetch import WeightFetch

from .checker import drive
from .peek import Peek
from .proof import Build

#: Cycles from an accepted request to its first word, if none is before it.
LATENCY = 2
_TAGS = ("value", "recurrent", "gated", "bank", "first", "first_kind")


def rows_exactly(*, rows: int, words: int, skew: int = 0) -> Build:
    """A list of accepted requests, of which the oldest must explain each word and border in each cycle.

    A request that waits for more than its latency must be served in every cycle, and the next one can be
    asked for in time, so none is lost and there is no gap. `skew` is added to the addresses that are expected
    (for the twin). No word is held back (:func:`rows_exactly_when_held` has that).
    """

    def build(m: Module) -> None:
        fetch = WeightFetch(rows=rows, words=words, value=unsigned(2), banks=2)
        peek = Peek(m, "fetch", fetch)
        drive(m, fetch)
        asked = _asked(m, fetch)
        m.d.comb += Assume(~fetch.hold)

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
            m.d.comb += [
                Assert((count < 2) | ~fetch.i.ready),
                # The next row can be asked for while this one is read, so that none follows late.
                Assert((count == 2) | ((count == 1) & (list_[0].age < LATENCY)) | fetch.i.ready),
            ]
        else:  # a row in every cycle; for the induction: each request ends in its only cycle
            m.d.comb += [Assert(fetch.i.ready), Assert(peek.signal("ends"))]
        with m.If(fetch.strobe):
            m.d.comb += _explained(fetch, head, position, skew)

    return build


def rows_exactly_when_held(*, rows: int, words: int) -> Build:
    """As :func:`rows_exactly`, but any cycle may be held: no word goes out then, and none is lost or doubled.

    A border comes once, before its request's first word or with it. Of two cycles that are not held, one
    after the other or with held ones between, one has a word or a border while a request is under way. How
    long a request waits depends on what holds it, so the invariant says what lies where.
    """

    def build(m: Module) -> None:
        fetch = WeightFetch(rows=rows, words=words, value=unsigned(2), banks=2)
        peek = Peek(m, "fetch", fetch)
        drive(m, fetch)
        asked = _asked(m, fetch)

        list_ = [Signal(fetch.request, name=f"asked{n}") for n in range(3)]
        count, position, bordered = Signal(range(4)), Signal(range(words + 1)), Signal()
        head, accepted = list_[0], fetch.i.valid & fetch.i.ready
        finished = Mux(head.fetch, fetch.strobe & (position == words - 1), fetch.close)
        m.d.sync += count.eq(count + accepted - finished)
        for n, place in enumerate(list_):
            with m.If(accepted & (count - finished == n)):
                m.d.sync += place.eq(asked)
            with m.Elif(finished):
                m.d.sync += place.eq(list_[min(n + 1, len(list_) - 1)])
        with m.If(finished):
            m.d.sync += [position.eq(0), bordered.eq(0)]
        with m.Else():
            m.d.sync += [position.eq(position + fetch.strobe), bordered.eq(bordered | fetch.close)]
        acting = fetch.strobe | fetch.close
        still = Signal(2)
        with m.If(acting | (count == 0)):
            m.d.sync += still.eq(0)
        with m.Elif(~fetch.hold):
            m.d.sync += still.eq(still + 1)

        m.d.comb += [
            Assert(~(fetch.hold & fetch.strobe)),
            Assert(~acting | (count != 0)),
            Assert(~fetch.strobe | head.fetch),
            Assert(~fetch.close | (head.close & ~bordered & (position == 0))),
            Assert(~fetch.strobe | ~head.close | bordered | fetch.close),
            Assert(~fetch.idle | (count == 0)),
            Assert((still == 0) | ((still == 1) & (fetch.hold | acting))),
        ]
        with m.If(fetch.strobe):
            m.d.comb += _explained(fetch, head, position, 0)

        # What lies where: the request at work, unless its border was all of it, and the one that waits.
        current, current_valid = (
            data.View(fetch.request, peek.signal("current")),
            peek.signal("current_valid"),
        )
        next_, next_valid = data.View(fetch.request, peek.signal("next")), peek.signal("next_valid")
        opening, ends = peek.signal("opening"), peek.signal("ends")
        working = current_valid & (current.fetch | opening)
        waits = Mux(working, list_[1].as_value(), list_[0].as_value())
        m.d.comb += [
            Assert(count == working + next_valid),
            Assert(~working | (head.as_value() == current.as_value())),
            Assert(~next_valid | (waits == next_.as_value())),
            Assert(~next_valid | (peek.signal("next_address") == next_.row * words)),
            Assert(
                (~current_valid | current.fetch | current.close) & (~next_valid | next_.fetch | next_.close)
            ),
            Assert((~current_valid | (current.row < rows)) & (~next_valid | (next_.row < rows))),
            Assert(~opening | (current_valid & (position == 0))),
            Assert(bordered == (working & current.close & ~opening)),
            Assert((position < words) & (working | (position == 0))),
            Assert(ends == (~(working & current.fetch) | (position == words - 1))),
            Assert((still == 0) | working),
        ]
        with m.If(working & current.fetch):
            m.d.comb += _explained(fetch, current, position, 0)

    return build


def _asked(m: Module, fetch: WeightFetch) -> data.View:
    """The request at the port, which names a row that is there and asks for something."""
    asked = fetch.i.payload
    m.d.comb += [Assume(asked.row < fetch.rows), Assume(asked.fetch | asked.close)]
    return asked


def _explained(fetch: WeightFetch, request: data.View, position: Signal, skew: int) -> list[Assert]:
    """The address and the tags are those of word `position` of this request."""
    word = fetch.word
    return [
        Assert(fetch.address == request.row * fetch.words + position + skew),
        Assert((word.word == position) & (word.third * GATES + word.phase == position)),
        Assert(word.phase < GATES),
        *[Assert(getattr(word, tag) == getattr(request, tag)) for tag in _TAGS],
    ]
