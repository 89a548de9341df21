"""Queues neither lose, duplicate nor reorder: the n-th item out is the n-th item in."""

from amaranth.hdl import Assert, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data

from egret_hw.fifo import PassingFifo

from .checker import arbitrary, drive
from .contracts import watched
from .peek import Peek
from .proof import Build


class TrackedItem:
    """One item on its way, chosen at an arbitrary moment, and how many are ahead of it.

    If, whichever item is chosen, it comes out unchanged once all that were ahead of it have come out, the
    n-th item out is the n-th in. Nothing comes out of an empty queue (`total` counts what is inside),
    so there is nothing else.

    Attributes
    ----------
    total : items inside
    tracked : 1 = the chosen one is inside
    ahead : items ahead of it
    item : what it is
    """

    def __init__(self, m: Module, *, width: int, capacity: int):
        self.total = Signal(range(capacity + 2), name="total")
        self.tracked = Signal(name="tracked")
        self.ahead = Signal(range(capacity + 2), name="ahead")
        self.item = Signal(width, name="item")
        self._chosen = Signal(name="chosen")
        self._pick = arbitrary(m, 1, "pick")

    def follow(self, m: Module, *, enters: Value, what: Value, leaves: Value, left: Value) -> None:
        """Items enter and leave, one of each per cycle; assert that the right one leaves."""
        self.follow_many(
            m, enters=enters, chosen=enters, below=Const(0, 1), what=what, leaves=leaves, left=left
        )

    def follow_many(
        self,
        m: Module,
        *,
        enters: Value,
        chosen: Value,
        below: Value,
        what: ValueLike,
        leaves: Value,
        left: Value,
    ) -> None:
        """As :meth:`follow`, but `enters` items come at once.

        Among them, if `chosen`, is one that is `what` and has `below` of them ahead of it.
        """
        m.d.sync += self.total.eq(self.total + enters - leaves)
        with m.If(leaves):
            m.d.comb += Assert(self.total != 0)
        with m.If(self.tracked & leaves):
            with m.If(self.ahead == 0):
                m.d.comb += Assert(left == self.item)
                m.d.sync += self.tracked.eq(0)
            with m.Else():
                m.d.sync += self.ahead.eq(self.ahead - 1)
        with m.If(chosen & self._pick & ~self._chosen):
            m.d.sync += [
                self._chosen.eq(1),
                self.tracked.eq(1),
                self.item.eq(what),
                self.ahead.eq(self.total + below - leaves),
            ]
        # Bookkeeping of the choice itself, for the induction.
        m.d.comb += Assert(~self.tracked | self._chosen)


def fifo_in_order(*, depth: int, width: int = 2) -> Build:
    """A :class:`PassingFifo` by induction, with where its items lie as invariant.

    From the output inwards they are in the output register, in the near memory, in the two registers of the
    block memory, and in the block memory.
    """

    def build(m: Module) -> None:
        fifo = PassingFifo(data.StructLayout({"item": width}), depth=depth)
        peek = Peek(m, "fifo", fifo)
        drive(m, fifo)
        track = _followed(m, fifo, width, depth + 1)
        taken = peek.signal("taken")
        write, read = peek.signal("write_place"), peek.signal("read_place")
        near = sum(taken[place] for place in range(len(taken)))
        m.d.comb += [
            # Places are taken from the lowest on, and only behind a valid output.
            Assert((taken & (taken + 1)) == 0),
            Assert(~taken[0] | fifo.o.valid),
            Assert((write - read - near)[: len(write)] == 0),
        ]
        place = Signal.like(read)
        behind = Signal.like(track.ahead)  # items of the near memory and beyond that are ahead
        m.d.comb += [behind.eq(track.ahead - fifo.o.valid), place.eq(read + behind)]
        near_word = peek.word(m, "near", place)
        in_output = fifo.o.valid & (track.ahead == 0)
        with m.If(track.tracked):
            m.d.comb += Assert(track.ahead < track.total)
            with m.If(in_output):
                m.d.comb += Assert(Value.cast(fifo.o.payload) == track.item)
            with m.Elif(behind < near):
                m.d.comb += Assert(near_word == track.item)
        if depth <= len(taken):
            m.d.comb += Assert(track.total == near + fifo.o.valid)
            return

        far = peek.part("far")
        watch = watched(far)
        late, later = peek.signal("fetched_1"), peek.signal("fetched_2")
        waiting, first = peek.signal("waiting"), peek.signal("far_read")
        past = peek.signal("far_write")
        ring = first + waiting
        beyond = Signal.like(track.ahead)  # items of the block memory that are ahead
        m.d.comb += [
            Assert(track.total == near + fifo.o.valid + late + later + waiting),
            Assert(near + late + later <= len(taken) // 2 + 3),  # so the near memory always has a place
            Assert(waiting <= far.depth),
            Assert(peek.signal("any_waiting") == (waiting != 0)),
            Assert(peek.signal("full") == (waiting == far.depth)),
            Assert((first < far.depth) & (past < far.depth)),
            Assert(past == Mux(ring >= far.depth, ring - far.depth, ring)),
            beyond.eq(behind - near - late - later),
            watch.address.eq(Mux(first + beyond >= far.depth, first + beyond - far.depth, first + beyond)),
        ]
        with m.If(track.tracked & ~in_output & (behind >= near)):
            with m.If(later & (behind == near)):
                m.d.comb += Assert(Value.cast(far.data) == track.item)
            with m.Elif(late & (behind == near + later)):
                m.d.comb += Assert(watch.under_way == track.item)
            with m.Else():
                m.d.comb += Assert(watch.word == track.item)

    return build


def _followed(m: Module, fifo: PassingFifo, width: int, capacity: int) -> TrackedItem:
    track = TrackedItem(m, width=width, capacity=capacity)
    track.follow(
        m,
        enters=fifo.i.valid & fifo.i.ready,
        what=Value.cast(fifo.i.payload),
        leaves=fifo.o.valid & fifo.o.ready,
        left=Value.cast(fifo.o.payload),
    )
    return track
