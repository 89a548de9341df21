"""Collects the sums of consecutive positions from the lanes, a group per cycle."""

from math import gcd

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe, strobe_pipe
from .geometry import RowGeometry
from .stream import index_shape

GATHER_LATENCY = 3
"""Cycles from `address` strobe to the sums of that group."""


class SumGather(wiring.Component):
    """Reads all accumulators of a bank in the order of their positions, `group` positions at a time.

    Position p lies in lane p mod L, so a group of at most L positions lies in different lanes and is read in one cycle; each
    lane gets an address of its own, since a group may reach over the end of a word. A group of more positions
    than lanes is read in several cycles, L positions in each.

    Latency: :data:`GATHER_LATENCY` cycles from `ahead` to `strobe`. Throughput: one group in `reads` cycles while `proceed` is 1.

    Parameters
    ----------
    geometry : positions and lanes
    group : positions of a group (3 P for P units)
    sums : layout of what a lane gives, its value in each set

    Members
    -------
    start : In, 1 = read the bank named by `bank` from its beginning; only given when idle
    bank : In, held until the last group is out
    proceed : In, 1 = a read may begin in this cycle
    read_slots, lane_sums : to and from :class:`~egret_hw.mac_array.MacArray`
    ahead, ahead_group : Out, a group's number before its sums, for memories that go with it
    strobe, group, last : Out, 1 = `positions` is valid; the group's number; whether it is the bank's last
    positions : Out, sums of the group's positions; beyond the last position undefined
    """

    def __init__(self, *, geometry: RowGeometry, group: int, sums: data.Layout):
        self.geometry = geometry
        self.size = group
        self.groups = -(-geometry.positions // group)
        self.reads = max(1, -(-group // geometry.lanes))
        slots = 2 * geometry.words
        super().__init__(
            {
                "start": In(1),
                "bank": In(1),
                "proceed": In(1),
                "read_slots": Out(data.ArrayLayout(index_shape(slots), geometry.lanes)),
                "lane_sums": In(data.ArrayLayout(sums, geometry.lanes)),
                "ahead": Out(1),
                "ahead_group": Out(index_shape(self.groups)),
                "strobe": Out(1),
                "group": Out(index_shape(self.groups)),
                "last": Out(1),
                "positions": Out(data.ArrayLayout(sums, group)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, words = self.geometry.lanes, self.geometry.words
        position_sums = self.lane_sums.shape().elem_shape

        # The cursor: a read covers the L positions from lane `offset` of word `word` on.
        active = Signal()
        group = Signal(index_shape(self.groups))
        read = Signal(range(max(self.reads, 2)))
        word = Signal(range(2 * words + 2))
        offset = Signal(index_shape(lanes))

        last_read = read == self.reads - 1
        begin = Signal()
        m.d.comb += begin.eq(active & self.proceed)
        # From a group's last read to the next group's first: what is left of the group's positions.
        step = self.size - (self.reads - 1) * lanes
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                group.eq(0),
                read.eq(0),
                word.eq(Mux(self.bank, words, 0)),
                offset.eq(0),
            ]
        with m.Elif(begin):
            with m.If(last_read):
                wrap = Signal()
                moved = Signal(range(lanes + step + 1))
                m.d.comb += [moved.eq(offset + step), wrap.eq(moved >= lanes)]
                m.d.sync += [
                    read.eq(0),
                    group.eq(group + 1),
                    word.eq(word + wrap),
                    offset.eq(Mux(wrap, moved - lanes, moved)),
                    active.eq(group != self.groups - 1),
                ]
            with m.Else():
                m.d.sync += [read.eq(read + 1), word.eq(word + 1)]

        # Address registers, one per lane: lanes below the offset belong to the next word.
        for lane in range(lanes):
            slot = Signal(index_shape(2 * words), name=f"slot{lane}", reset_less=True)
            m.d.sync += slot.eq(word + (offset > lane))
            m.d.comb += self.read_slots[lane].eq(slot)

        # Three cycles: address register, the lanes' own register, and the one behind the selection below.
        m.d.comb += [self.ahead.eq(begin & last_read), self.ahead_group.eq(group)]
        picked_offset = pipe(m, offset, "picked_offset", 2)
        picked_read = pipe(m, read, "picked_read", 2)
        m.d.comb += [
            self.strobe.eq(strobe_pipe(m, self.ahead, "reading", GATHER_LATENCY)),
            self.group.eq(pipe(m, group, "reading_group", GATHER_LATENCY)),
            self.last.eq(pipe(m, group == self.groups - 1, "reading_last", GATHER_LATENCY)),
        ]

        offsets = sorted({k * gcd(step, lanes) for k in range(lanes // gcd(step, lanes))})
        for place in range(self.size):
            chosen = Signal(position_sums, name=f"chosen{place}")
            with m.Switch(picked_offset):
                for case in offsets[:-1]:
                    with m.Case(case):
                        m.d.comb += chosen.eq(self.lane_sums[(case + place) % lanes])
                with m.Default():
                    m.d.comb += chosen.eq(self.lane_sums[(offsets[-1] + place) % lanes])
            held = Signal(position_sums, name=f"position{place}", reset_less=True)
            with m.If(picked_read == place // lanes):
                m.d.sync += held.eq(chosen)
            m.d.comb += self.positions[place].eq(held)
        return m
