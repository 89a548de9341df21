"""The readout in hardware: a tile without update."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.formats import IntFormat
from egru.image import Readout

from .geometry import RowGeometry
from .logit_scan import ASK_LATENCY, LogitScan
from .mac_array import MacArray
from .memory import Rom
from .queues import EventQueue
from .readout_scheduler import ReadoutScheduler
from .stream import token_layout
from .weight_fetch import WeightFetch
from .widths import ReadoutWidths


class ReadoutTile(wiring.Component):
    """Linear readout driven by the last layer's events.

    An event costs ceil(C / L) cycles.

    Parameters
    ----------
    readout : weights, biases and mode
    events : format of the last layer's events
    lanes : L
    queue_depth : tokens that wait in front of it
    streams : independent sequences whose steps come in turn
    compact : the form for small devices, see :class:`~egret_hw.config.AcceleratorConfig`

    Members
    -------
    i : In, stream of the last layer's tokens
    o : Out, stream of logits: C events with ascending index, then TICK (mode "every", each step) or END; in
        mode "every", END alone ends a sequence
    """

    def __init__(
        self,
        *,
        readout: Readout,
        events: IntFormat,
        lanes: int,
        queue_depth: int,
        streams: int = 1,
        compact: bool = False,
    ):
        self.compact = compact
        self.readout = readout
        self.lanes = lanes
        self.queue_depth = queue_depth
        self.classes, self.units = readout.weight.shape
        self.event = unsigned(events.bits)
        spec = readout.spec
        self.geometry = RowGeometry(positions=self.classes, lanes=lanes)
        self.scheduler = ReadoutScheduler(
            units=self.units, value=self.event, mode=spec.mode, max_steps=spec.max_steps, streams=streams
        )
        self.banks = self.scheduler.banks
        self.widths = ReadoutWidths.of(readout, events)
        self.scan = LogitScan(
            readout=readout,
            geometry=self.geometry,
            widths=self.widths,
            banks=self.banks,
            compact=compact,
        )
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(self.units, self.event))),
                "o": Out(stream.Signature(self.scan.o.payload.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        spec, words = self.readout.spec, self.geometry.words
        m.submodules.queue = queue = EventQueue(
            size=self.units, value=self.event, depth=self.queue_depth, small=self.compact
        )
        m.submodules.scheduler = scheduler = self.scheduler
        m.submodules.fetch = fetch = WeightFetch(
            rows=self.units, words=words, value=self.event, banks=self.banks
        )
        m.submodules.weights = weights = Rom(
            shape=self.lanes * spec.weight_bits,
            contents=self.geometry.pack(self.readout.weight.T, spec.weight_bits),
            group="weights",
        )
        m.submodules.macs = macs = MacArray(
            geometry=self.geometry,
            weight_bits=spec.weight_bits,
            value=self.event,
            sum_bits=self.widths.sum_bits,
            banks=self.banks,
            ask_latency=ASK_LATENCY,
            compact=self.compact,
        )
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
            macs.reading.eq(scan.reading),
            macs.read_bank.eq(scan.read_bank),
            macs.read_slots.eq(scan.read_slots),
            scan.lane_sums.eq(macs.sums),
            scan.closed.eq(macs.closed),
            scan.due.eq(scheduler.due),
            scheduler.done.eq(scan.done),
            fetch.hold.eq(scan.hold),
        ]
        return m
