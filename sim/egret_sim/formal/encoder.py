"""The event encoder sends exactly the set bits of its input, in order, and its jobs in order."""

from functools import reduce
from operator import or_

from amaranth.hdl import Assert, Assume, Const, Module, Signal, Value
from amaranth.lib import data

from egret_hw.event_encoder import JOBS_DEPTH, EventEncoder
from egret_hw.stream import Kind

from .checker import arbitrary, drive
from .contracts import Items, seen
from .peek import Peek
from .proof import Build
from .queues import TrackedItem


def set_bits_in_order(*, units: int, lanes: int, steps: int, event_bits: int = 1) -> Build:
    """Events and ticks that leave are those that came in the update's results: no other, in order.

    One bit of one result is chosen (or the tick of a step's last group), and how many events and ticks must
    leave before it is counted as they come. Induction, with the queues by their contract; the invariant says
    where the chosen bit waits, and that all others before it do.
    """

    def build(m: Module) -> None:
        encoder = EventEncoder(units=units, lanes=lanes, event_bits=event_bits, steps=steps)
        peek = Peek(m, "encoder", encoder)
        store = seen(peek.part("groups"))
        drive(m, encoder)
        _jobs_are_kinds(m, encoder, peek)
        result, strobe, token = encoder.result, encoder.result_strobe, encoder.o.payload
        # The store has a place for every group that may come (a claim about the tile, proved there).
        m.d.comb += Assume(~strobe | (store.count < encoder.depth))

        capacity = (encoder.depth + 1) * (lanes + 1) + 1
        kept = data.StructLayout(
            {"tick": 1, "index": encoder.token_layout["index"].shape, "value": event_bits}
        )
        track = TrackedItem(m, width=kept.size, capacity=capacity)
        lane = arbitrary(m, range(lanes + 1), "lane")  # which bit of the result; the last is the tick
        m.d.comb += Assume(lane <= lanes)
        bits = [result.fired[place] for place in range(lanes)] + [result.last]
        entering = Signal(range(lanes + 2))
        below = Signal(range(lanes + 2))
        m.d.comb += entering.eq(sum(bit & strobe for bit in bits))
        item, chosen = Signal(kept), Signal()
        for place, bit in enumerate(bits):
            with m.If(lane == place):
                m.d.comb += [below.eq(sum(bits[:place], Const(0, 1))), chosen.eq(bit & strobe)]
                m.d.comb += _kept(item, result, place, lanes)
        leaving = encoder.o.valid & encoder.o.ready & _counts(token)
        left = Signal(kept)
        m.d.comb += [
            left.tick.eq(token.kind == Kind.TICK),
            left.index.eq(_unless(left.tick, token.index)),
            left.value.eq(_unless(left.tick, token.value)),
        ]
        track.follow_many(
            m,
            enters=entering,
            chosen=chosen,
            below=below,
            what=item,
            leaves=leaving,
            left=Value.cast(left),
        )

        # Where everything is. Of the group at the head, what is `gone` has been sent.
        gone = peek.signal("gone")
        at_output = encoder.o.valid & _counts(token)
        before: Value = at_output
        places = [at_output & (track.ahead == 0) & (Value.cast(left) == track.item)]
        for number, word in enumerate(store.words):
            group = data.View(encoder.result_layout, word)
            there = store.count > number
            sent = gone if number == 0 else Const(0, lanes)
            waiting = [group.fired[place] & ~sent[place] & there for place in range(lanes)]
            waiting.append(group.last & there)
            for place, bit in enumerate(waiting):
                here = Signal(kept, name=f"waiting{number}_{place}")
                m.d.comb += _kept(here, group, place, lanes)
                places.append(bit & (track.ahead == before) & (Value.cast(here) == track.item))
                before = before + bit
            m.d.comb += Assert(~there | group.fired.any() | group.last)
        head = data.View(encoder.result_layout, store.words[0])
        m.d.comb += [
            Assert(store.count <= encoder.depth + 1),
            Assert(track.total == before),
            Assert(~track.tracked | reduce(or_, places)),
            Assert(((gone & ~head.fired) == 0) & ((store.count != 0) | (gone == 0))),
            # What was sent lies below what was not.
            Assert(
                (
                    gone
                    & ~(head.fired & ((head.fired & ~gone) - 1)[:lanes])
                    & (head.fired & ~gone).any().replicate(lanes)
                )
                == 0
            ),
        ]

    return build


def _jobs_are_kinds(m: Module, encoder: EventEncoder, peek: Peek) -> Items:
    """A job is no EVENT; what waits as a job says rightly whether it is a TICK."""
    queue = seen(peek.part("jobs"))
    m.d.comb += Assume(encoder.jobs.payload.kind != Kind.EVENT)
    for number, word in enumerate(queue.words):
        job = data.View(peek.part("jobs").layout, word)
        right = (job.kind != Kind.EVENT) & (job.tick == (job.kind == Kind.TICK))
        m.d.comb += Assert((queue.count <= number) | right)
    return queue


def _counts(token) -> Value:
    return (token.kind == Kind.EVENT) | (token.kind == Kind.TICK)


def _unless(condition: Value, value: Value) -> Value:
    return value & (~condition).replicate(len(value))


def _kept(item, result, place: int, lanes: int) -> list:
    """What has to leave for bit `place` of a result."""
    if place == lanes:
        return [item.tick.eq(1)]
    return [item.index.eq(result.group * lanes + place), item.value.eq(result["values"][place])]


def jobs_in_order(*, units: int, lanes: int, steps: int) -> Build:
    """TICK, END and PASS leave in the order of the jobs; the tap shows each token once."""

    def build(m: Module) -> None:
        encoder = EventEncoder(units=units, lanes=lanes, event_bits=1, steps=steps)
        peek = Peek(m, "encoder", encoder)
        seen(peek.part("groups"))
        drive(m, encoder)
        queue = _jobs_are_kinds(m, encoder, peek)
        token = encoder.o.payload
        track = TrackedItem(m, width=2, capacity=JOBS_DEPTH + 2)
        border = token.kind != Kind.EVENT
        track.follow(
            m,
            enters=encoder.jobs.valid & encoder.jobs.ready,
            what=Value.cast(encoder.jobs.payload.kind),
            leaves=encoder.o.valid & encoder.o.ready & border,
            left=Value.cast(token.kind),
        )
        at_output = encoder.o.valid & border
        before: Value = at_output
        places = [at_output & (track.ahead == 0) & (Value.cast(token.kind) == track.item)]
        waiting = peek.part("jobs").layout
        for number, word in enumerate(queue.words):
            job = data.View(waiting, word)
            there = queue.count > number
            places.append(there & (track.ahead == before) & (Value.cast(job.kind) == track.item))
            before = before + there
        m.d.comb += [
            Assert(queue.count <= JOBS_DEPTH + 1),
            Assert(track.total == before),
            Assert(~track.tracked | reduce(or_, places)),
        ]
        # The tap and `done` show a token in the first cycle in which it is at the output.
        free, tap = Signal(init=1), encoder.recurrent
        m.d.sync += free.eq(~encoder.o.valid | encoder.o.ready)
        new = encoder.o.valid & free
        m.d.comb += [
            Assert(tap.strobe == (new & (token.kind != Kind.END))),
            Assert(encoder.done == (new & (token.kind == Kind.TICK))),
        ]
        with m.If(tap.strobe):
            m.d.comb += [
                Assert((tap.token.index == token.index) & (tap.token.value == token.value)),
                Assert((tap.token.kind == Kind.EVENT) == (token.kind == Kind.EVENT)),
                Assert((tap.token.kind == Kind.EVENT) | (tap.token.kind == Kind.TICK)),
            ]

    return build
