"""A queue that lets an item pass at once when nothing waits."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

#: Items in distributed memory, right behind the output: as many as its primitives hold anyway.
_NEAR_DEPTH = 16
#: A buffered FIFO of two or fewer places runs at half rate.
_FAR_DEPTH_LEAST = 3


class PassingFifo(wiring.Component):
    """First-in, first-out queue with a registered output.

    Up to 16 items wait in distributed memory; a deeper queue has a block memory before it. What the reader does in a
    cycle reaches neither the block memory nor the writer in that cycle, so long queues and chains of them stay fast.

    Latency: one cycle when empty. Throughput: one item per cycle in and out. It holds `depth` items and one at its output; when
    full it is not ready, so nothing is lost.

    Members
    -------
    i : In, stream of `layout`
    o : Out, stream of `layout`
    """

    def __init__(self, layout: data.Layout, *, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be 1 or more, not {depth}")
        self.layout = layout
        self.depth = depth
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.layout).width
        deep = self.depth > _NEAR_DEPTH
        m.submodules.near = near = fifo.SyncFIFO(width=width, depth=min(self.depth, _NEAR_DEPTH))
        arriving, arrives = Value.cast(self.i.payload), self.i.valid  # what is next behind the near items

        if deep:
            m.submodules.far = far = fifo.SyncFIFOBuffered(
                width=width, depth=max(self.depth - _NEAR_DEPTH, _FAR_DEPTH_LEAST)
            )
            roomy = near.level < _NEAR_DEPTH // 2
            straight = roomy & (far.level == 0)
            m.d.comb += [
                far.w_data.eq(self.i.payload),
                far.w_en.eq(self.i.valid & ~straight),
                far.r_en.eq(roomy),
                self.i.ready.eq(far.w_rdy),
            ]
            arriving = Mux(far.r_rdy, far.r_data, arriving)
            arrives = Mux(far.r_rdy, roomy, self.i.valid & straight)
        else:
            m.d.comb += self.i.ready.eq(near.w_rdy)
            arrives = arrives & near.w_rdy

        free = ~self.o.valid | self.o.ready
        passing = free & ~near.r_rdy
        payload = Signal(width, reset_less=True)
        m.d.comb += [
            near.w_data.eq(arriving),
            near.w_en.eq(arrives & ~passing),
            near.r_en.eq(free),
            Value.cast(self.o.payload).eq(payload),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(near.r_rdy | arrives),
                payload.eq(Mux(near.r_rdy, near.r_data, arriving)),
            ]
        return m
