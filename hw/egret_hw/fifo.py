"""A queue that lets an item pass at once when nothing waits."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

# A buffered FIFO of two or fewer places runs at half rate.
LEAST_DEPTH = 3


class PassingFifo(wiring.Component):
    """First-in, first-out queue with a registered output.

    Latency: one cycle when empty. Throughput: one item per cycle in and out. It holds `depth` items and one at its output; when
    full it is not ready, so nothing is lost.

    Members
    -------
    i : In, stream of `layout`
    o : Out, stream of `layout`
    """

    def __init__(self, layout: data.Layout, *, depth: int):
        if depth < LEAST_DEPTH:
            raise ValueError(f"depth must be {LEAST_DEPTH} or more, not {depth}")
        self.layout = layout
        self.depth = depth
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = fifo.SyncFIFOBuffered(width=Shape.cast(self.layout).width, depth=self.depth)
        payload = Signal(Shape.cast(self.layout), reset_less=True)
        free = ~self.o.valid | self.o.ready
        passing = free & (store.level == 0)
        m.d.comb += [
            Value.cast(self.o.payload).eq(payload),
            store.w_data.eq(self.i.payload),
            store.w_en.eq(self.i.valid & ~passing),
            store.r_en.eq(free),
            self.i.ready.eq(passing | store.w_rdy),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(Mux(passing, self.i.valid, store.r_rdy))
            with m.If(passing):
                m.d.sync += payload.eq(self.i.payload)
            with m.Else():
                m.d.sync += payload.eq(store.r_data)
        return m
