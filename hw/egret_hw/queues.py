"""The two places where events wait."""

from amaranth.hdl import Module, Shape, ShapeLike, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .stream import index_shape, token_layout

# A buffered FIFO of two or fewer places runs at half rate.
_LEAST_DEPTH = 3


class EventQueue(wiring.Component):
    """First-in, first-out queue of tokens in front of a tile.

    Throughput: one token per cycle in and out. A token leaves two cycles after it entered, at the earliest. When full it is not
    ready, so that nothing is ever lost.

    Parameters
    ----------
    size : number of sources, so indices are below it
    value : shape of an event's value
    depth : tokens that wait at most, 3 or more

    Members
    -------
    i : In, stream of tokens
    o : Out, stream of tokens
    """

    def __init__(self, *, size: int, value: ShapeLike, depth: int):
        if depth < _LEAST_DEPTH:
            raise ValueError(f"queue_depth must be {_LEAST_DEPTH} or more, not {depth}")
        self.layout = token_layout(size, value)
        self.depth = depth
        super().__init__({"i": In(stream.Signature(self.layout)), "o": Out(stream.Signature(self.layout))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = store = fifo.SyncFIFOBuffered(width=Shape.cast(self.layout).width, depth=self.depth)
        _attach(m, self, store)
        return m


class RecurrentQueue(wiring.Component):
    """Queue of a tile's own events on their way back into it.

    It has a place for each unit, and a unit fires at most once between two ticks: so it is always ready, by construction.

    Members
    -------
    i : In, stream of (index, value)
    o : Out, stream of (index, value)
    empty : Out, 1 when no event waits, not even one that is not yet visible at `o`
    """

    def __init__(self, *, units: int, event_bits: int):
        self.units = units
        self.layout = recurrent_layout(units, event_bits)
        self.depth = max(units, _LEAST_DEPTH)
        super().__init__(
            {
                "i": In(stream.Signature(self.layout)),
                "o": Out(stream.Signature(self.layout)),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = store = fifo.SyncFIFOBuffered(width=Shape.cast(self.layout).width, depth=self.depth)
        _attach(m, self, store)
        m.d.comb += self.empty.eq(store.level == 0)
        return m


def recurrent_layout(units: int, event_bits: int) -> data.StructLayout:
    """Layout of an event that stays inside a tile: no kind, since it is never a tick."""
    return data.StructLayout({"index": index_shape(units), "value": event_bits})




def _attach(m: Module, queue: EventQueue | RecurrentQueue, store: fifo.SyncFIFOBuffered) -> None:
    m.d.comb += [
        store.w_data.eq(queue.i.payload),
        store.w_en.eq(queue.i.valid),
        queue.i.ready.eq(store.w_rdy),
        Value.cast(queue.o.payload).eq(store.r_data),
        queue.o.valid.eq(store.r_rdy),
        store.r_en.eq(queue.o.ready),
    ]
