"""The two places where events wait."""

from amaranth.hdl import Module, Mux, ShapeLike, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import PassingFifo
from .stream import Kind, token_layout


class EventQueue(PassingFifo):
    """Queue of tokens in front of a tile: what comes from outside waits here.

    Parameters
    ----------
    size : number of sources, so indices are below it
    value : shape of an event's value
    depth : tokens that wait at most, 1 or more
    """

    def __init__(self, *, size: int, value: ShapeLike, depth: int, small: bool = False):
        super().__init__(token_layout(size, value), depth=depth, small=small)


class RecurrentQueue(wiring.Component):
    """Queue of a tile's own events on their way back into it, each step closed by a TICK.

    A unit fires at most once in a step, and at most `streams` steps are under way: with a place for each of
    those events and ticks the queue is always ready, by construction.

    Members
    -------
    i, o : In, Out, streams of tokens, EVENT and TICK alone
    """

    def __init__(self, *, units: int, event_bits: int, streams: int, small: bool = False):
        self.depth = streams * (units + 1)
        self.small = small
        self.layout = token_layout(units, unsigned(event_bits))
        super().__init__({"i": In(stream.Signature(self.layout)), "o": Out(stream.Signature(self.layout))})

    def elaborate(self, platform):
        m = Module()
        # One bit tells the two kinds apart: a token so fits a word of 16 bits with up to 128 units.
        waiting = data.StructLayout(
            {"tick": 1, "index": self.layout["index"].shape, "value": self.layout["value"].shape}
        )
        m.submodules.queue = queue = PassingFifo(waiting, depth=self.depth, small=self.small)
        m.d.comb += [
            queue.i.valid.eq(self.i.valid),
            queue.i.payload.tick.eq(self.i.payload.kind == Kind.TICK),
            queue.i.payload.index.eq(self.i.payload.index),
            queue.i.payload.value.eq(self.i.payload.value),
            self.i.ready.eq(queue.i.ready),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.kind.eq(Mux(queue.o.payload.tick, Kind.TICK, Kind.EVENT)),
            self.o.payload.index.eq(queue.o.payload.index),
            self.o.payload.value.eq(queue.o.payload.value),
            queue.o.ready.eq(self.o.ready),
        ]
        return m
