"""The readout in hardware: a tile without update."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.formats import IntFormat
from egru.image import Readout

from .geometry import RowGeometry
from .logit_scan import LogitScan
from .mac_array import MacArray
from .memory import Rom
from .queues import EventQueue
from .readout_scheduler import ReadoutScheduler
from .stream import token_layout
from .sum_gather import SumGather
from .weight_fetch import WeightFetch
from .widths import signed_bits, sum_bound


class ReadoutTile(wiring.Component):
    """Linear readout driven by the last layer's events.

    An event costs ceil(C / L) cycles.

    Parameters
    ----------
    readout : weights, biases and mode
    events : format of the last layer's events
    lanes : L
    queue_depth : tokens that wait in front of it

    Members
    -------
    i : In, stream of the last layer's tokens
    o : Out, stream of logits: C events with ascending index, then TICK (mode "every", each step) or END; in mode "every", END alone ends a sequence
    """

    def __init__(self, *, readout: Readout, events: IntFormat, lanes: int, queue_depth: int):
        self.readout = readout
        self.lanes = lanes
        self.queue_depth = queue_depth
        self.classes, self.units = readout.weight.shape
        self.event = unsigned(events.bits)
        self.geometry = RowGeometry(positions=self.classes, lanes=lanes)
        steps = readout.spec.max_steps if readout.spec.mode == "mean" else 1
        self.sum_bits = signed_bits(sum_bound(readout.weight, events) * steps)
        self.scan = LogitScan(readout=readout, sum_bits=self.sum_bits)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(self.units, self.event))),
                "o": Out(stream.Signature(self.scan.o.payload.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        spec, words = self.readout.spec, self.geometry.words
        sums = data.StructLayout({"set0": signed(self.sum_bits)})
        m.submodules.queue = queue = EventQueue(size=self.units, value=self.event, depth=self.queue_depth)
        m.submodules.scheduler = scheduler = ReadoutScheduler(
            units=self.units, value=self.event, mode=spec.mode, max_steps=spec.max_steps
        )
        m.submodules.fetch = fetch = WeightFetch(rows=self.units, words=words, value=self.event, sets=1)
        m.submodules.weights = weights = Rom(
            shape=self.lanes * spec.weight_bits, contents=self.geometry.pack(self.readout.weight.T, spec.weight_bits)
        )
        m.submodules.macs = macs = MacArray(
            lanes=self.lanes, words=words, weight_bits=spec.weight_bits, value=self.event, sum_bits=(self.sum_bits,)
        )
        m.submodules.gather = gather = SumGather(geometry=self.geometry, group=1, sums=sums)
        m.submodules.scan = scan = self.scan

        connect(m, flipped(self.i), queue.i)
        connect(m, queue.o, scheduler.i)
        connect(m, scheduler.o, fetch.i)
        connect(m, scan.o, flipped(self.o))
        m.d.comb += [
            weights.address0.eq(fetch.address),
            macs.weights.eq(weights.data0),
            macs.strobe.eq(fetch.strobe),
            macs.close.eq(fetch.close),
            macs.word.eq(fetch.word),
            macs.read_slots.eq(gather.read_slots),
            gather.lane_sums.eq(macs.sums),
            gather.start.eq(macs.closed & scheduler.scan),
            gather.bank.eq(scheduler.bank),
            gather.proceed.eq(scan.proceed),
            scan.closed.eq(macs.closed),
            scan.strobe.eq(gather.strobe),
            scan.group.eq(gather.group),
            scan.ahead_group.eq(gather.ahead_group),
            scan.positions.eq(gather.positions),
            scan.has_events.eq(scheduler.has_events),
            scan.steps.eq(scheduler.steps),
            scan.scan.eq(scheduler.scan),
            scan.closing.eq(scheduler.closing),
            scheduler.done.eq(scan.done),
        ]
        return m
