"""A queue that lets an item pass at once when nothing waits."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import strobe_pipe
from .memory import READ_LATENCY, Ram
from .stream import index_shape

#: Items in distributed memory, right behind the output: as many as its primitives hold anyway.
_NEAR_DEPTH = 16


class PassingFifo(wiring.Component):
    """First-in, first-out queue with a registered output.

    Up to 16 items wait in distributed memory; a deeper queue has a block memory before it. What the reader
    does in a cycle reaches neither the block memory nor the writer in that cycle, so long queues and chains
    of them
    stay fast.

    Latency: one cycle when empty. Throughput: one item per cycle in and out. It holds `depth` items and one
    at its output; when full it is not ready, so nothing is lost.

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
            depth = self.depth - _NEAR_DEPTH // 2  # near items beyond that are reads under way
            m.submodules.far = far = Ram(shape=width, depth=depth)
            write, read = Signal(index_shape(depth)), Signal(index_shape(depth))
            waiting = Signal(range(depth + 1))  # in the block memory
            roomy = near.level < _NEAR_DEPTH // 2  # near has room for all reads that may be under way
            fetching = roomy & (waiting != 0)
            fetched = [fetching]
            for age in range(READ_LATENCY):
                fetched.append(strobe_pipe(m, fetched[-1], f"fetched_{age + 1}", 1))
            straight = roomy & (waiting == 0) & ~Cat(fetched[1:]).any()
            storing = self.i.valid & self.i.ready & ~straight
            m.d.comb += [
                far.write_data.eq(self.i.payload),
                far.write_address.eq(write),
                far.write_enable.eq(storing),
                far.address.eq(read),
                self.i.ready.eq(waiting != depth),
            ]
            with m.If(storing):
                m.d.sync += write.eq(Mux(write == depth - 1, 0, write + 1))
            with m.If(fetching):
                m.d.sync += read.eq(Mux(read == depth - 1, 0, read + 1))
            m.d.sync += waiting.eq(waiting + storing - fetching)
            arriving = Mux(fetched[-1], far.data, arriving)
            arrives = fetched[-1] | (self.i.valid & straight)
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
