"""A queue that lets an item pass at once when nothing waits."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .arithmetic import strobe_pipe
from .blocks.family import ICE40, family_of
from .memory import READ_LATENCY, Ram
from .protection import active_guard, parity_layout
from .stream import index_shape

#: Items in registers, in the small form.
_SMALL_NEAR_DEPTH = 2
#: Items in distributed memory, right behind the output: as many as its primitives hold anyway.
_NEAR_DEPTH = 16
#: Items up to which a small queue is all registers.
_SMALL_DEPTH = 8


class PassingFifo(wiring.Component):
    """First-in, first-out queue with a registered output.

    Up to 16 items wait in distributed memory; a deeper queue has a block memory before it. What the reader
    does in a cycle reaches neither the block memory nor the writer in that cycle, so long queues and chains
    of them stay fast.

    With `small` the near items are two, or all of a queue of up to 8; they are meant for registers.

    Latency: one cycle when empty. Throughput: one item per cycle in and out; of a deep queue with `small` one
    in three cycles where items wait. It holds `depth` items and one at its output; when full it is not ready,
    so nothing is lost.

    Parameters
    ----------
    layout, depth : of an item, and how many wait at most, 1 or more
    small : as above
    guarded : False = it has no protection of its own

    Members
    -------
    i : In, stream of `layout`
    o : Out, stream of `layout`
    roomy : Out, 1 = half of the places in distributed memory are free
    """

    def __init__(self, layout: data.Layout, *, depth: int, small: bool = False, guarded: bool = True):
        if depth < 1:
            raise ValueError(f"depth must be 1 or more, not {depth}")
        self.layout = layout
        self.depth = depth
        self.small = small
        self.guarded = guarded
        super().__init__(
            {"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout)), "roomy": Out(1)}
        )

    def elaborate(self, platform):
        guard = active_guard()
        if guard and self.guarded:
            items = parity_layout(self.layout)
            return guard.queue(self, PassingFifo(items, depth=self.depth, small=self.small, guarded=False))
        m = Module()
        width = Shape.cast(self.layout).width
        near_depth = _NEAR_DEPTH
        if self.small and self.depth > _SMALL_DEPTH:
            near_depth = _SMALL_NEAR_DEPTH
        deep = self.depth > near_depth
        places = min(self.depth, near_depth)
        # iCE40 has no distributed memory: what synthesis finds there is registers.
        style = {} if family_of(platform) == ICE40 else {"ram_style": "distributed"}
        # One bit for each place, the lowest ones set: whatever is asked of the level is a register.
        taken = Signal(places)
        some = taken[0]
        near = memory.Memory(shape=width, depth=max(2, 1 << ceil_log2(places)), init=[], attrs=style)
        m.submodules.near = near
        write_port, read_port = near.write_port(), near.read_port(domain="comb")
        m.d.comb += self.roomy.eq(~taken[places // 2])
        arriving, arrives = Value.cast(self.i.payload), self.i.valid  # what is next behind the near items

        if deep:
            depth = self.depth - near_depth // 2  # near items beyond that are reads under way
            m.submodules.far = far = Ram(shape=width, depth=depth, guarded=False)
            write = Signal(index_shape(depth), name="far_write")
            read = Signal(index_shape(depth), name="far_read")
            waiting = Signal(range(depth + 1))  # in the block memory
            any_waiting, full = Signal(name="any_waiting"), Signal(name="full")
            fetching = Signal(name="fetching")
            fetched: list[Value] = [fetching]
            for age in range(READ_LATENCY):
                fetched.append(strobe_pipe(m, fetched[-1], f"fetched_{age + 1}", 1))
            under_way = Cat(fetched[1:]).any()
            # Two places are room for one item: it comes before the next one is fetched.
            m.d.comb += fetching.eq(self.roomy & any_waiting & (~under_way if self.small else 1))
            straight = self.roomy & ~any_waiting & ~under_way
            storing = self.i.valid & ~full & ~straight
            m.d.comb += [
                far.write_data.eq(self.i.payload),
                far.write_address.eq(write),
                far.write_enable.eq(storing),
                far.address.eq(read),
                self.i.ready.eq(~full),
            ]
            with m.If(storing):
                m.d.sync += write.eq(Mux(write == depth - 1, 0, write + 1))
            with m.If(fetching):
                m.d.sync += read.eq(Mux(read == depth - 1, 0, read + 1))
            with m.If(storing & ~fetching):
                m.d.sync += [waiting.eq(waiting + 1), any_waiting.eq(1), full.eq(waiting == depth - 1)]
            with m.If(~storing & fetching):
                m.d.sync += [waiting.eq(waiting - 1), any_waiting.eq(waiting != 1), full.eq(0)]
            arriving = Mux(fetched[-1], far.data, arriving)
            arrives = fetched[-1] | (self.i.valid & straight)
        else:
            m.d.comb += self.i.ready.eq(~taken[-1])
            arrives = arrives & ~taken[-1]

        # Near items wait only behind a valid output.
        free = ~self.o.valid | self.o.ready
        pushing, popping = Signal(), Signal()
        m.d.comb += [pushing.eq(arrives & (some | ~free)), popping.eq(some & self.o.ready)]
        # One of both: if something was taken it is gone. Kept, so that no bit works this out on its own.
        falling = Signal(attrs={"keep": 1})
        m.d.comb += falling.eq(self.o.ready)
        with m.If(pushing != popping):
            m.d.sync += taken.eq(Mux(falling, taken >> 1, Cat(1, taken)))
        write_place = Signal.like(write_port.addr, name="write_place")
        read_place = Signal.like(write_port.addr, name="read_place")
        with m.If(pushing):
            m.d.sync += write_place.eq(write_place + 1)
        with m.If(popping):
            m.d.sync += read_place.eq(read_place + 1)
        payload = Signal(width, reset_less=True)
        m.d.comb += [
            write_port.addr.eq(write_place),
            write_port.data.eq(arriving),
            write_port.en.eq(arrives),  # to a free place in any case; it counts if `pushing`
            read_port.addr.eq(read_place),
            Value.cast(self.o.payload).eq(payload),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(some | arrives),
                payload.eq(Mux(some, read_port.data, arriving)),
            ]
        return m
