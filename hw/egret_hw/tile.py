"""One layer of the network in hardware."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.image import Layer

from .counters import Counters, counters_layout
from .event_encoder import EventEncoder
from .geometry import LayerGeometry, layer_rows
from .mac_array import MacArray
from .memory import Rom
from .neuron_update import NeuronUpdate
from .queues import EventQueue, RecurrentQueue
from .reset_gate import ResetGate
from .stream import Kind, token_layout
from .sum_gather import SumGather
from .tile_scheduler import BANKS, TileScheduler
from .weight_fetch import WeightFetch
from .widths import LayerWidths


class Tile(wiring.Component):
    """A layer: queue, scheduler, weight fetch, lanes, update and encoder.

    An event costs ceil(3N / L) cycles of its lanes; a silent unit costs none. A step without any event
    costs the update of all units and the pipeline's latency, and still ticks.

    Parameters
    ----------
    layer : the layer's integers and formats
    lanes : L, multipliers for products
    update_lanes : P, units updated per cycle
    queue_depth : tokens that wait in front of the tile
    streams : independent sequences whose steps are taken in turn

    Members
    -------
    i : In, stream of tokens: input events, TICK, END, PASS
    o : Out, stream of tokens: the layer's events, TICK, END, PASS
    counters : Out, :func:`~egret_hw.counters.counters_layout`
    """

    def __init__(self, *, layer: Layer, lanes: int, update_lanes: int, queue_depth: int, streams: int = 1):
        self.layer = layer
        self.lanes = lanes
        self.update_lanes = update_lanes
        self.queue_depth = queue_depth
        self.streams = streams
        spec, arriving = layer.spec, layer.input_format
        self.geometry = LayerGeometry.of(units=spec.units, lanes=lanes)
        self.weight_bits = max(spec.input_weight_bits, spec.recurrent_weight_bits)
        self.input_value = signed(arriving.bits) if arriving.signed else unsigned(arriving.bits)
        self.widths = widths = LayerWidths.of(layer, weight_bits=self.weight_bits)
        self.value = signed(widths.value_bits)
        # With one stream a step waits for the one before; with more, two may be in the update.
        steps = min(2, streams)
        self.recurrent = RecurrentQueue(units=spec.units, event_bits=spec.event_bits, streams=streams)
        self.fetch = WeightFetch(
            rows=spec.inputs + spec.units, words=self.geometry.words, value=self.value, banks=BANKS
        )
        self.gather = SumGather(
            geometry=self.geometry, units=update_lanes, sum_bits=widths.sum_bits, streams=streams
        )
        self.update = NeuronUpdate(
            layer=layer,
            lanes=update_lanes,
            streams=streams,
            sum_bits=widths.sum_bits,
            sum_shift=widths.common_shift,
        )
        gate_first = spec.reset == "before"
        self.encoder = EventEncoder(
            units=spec.units, lanes=update_lanes, event_bits=spec.event_bits, steps=steps
        )
        self.scheduler = TileScheduler(
            inputs=spec.inputs,
            units=spec.units,
            event_bits=spec.event_bits,
            input_value=self.input_value,
            value=self.value,
            input_shift=widths.value_shifts[0],
            recurrent_shift=widths.value_shifts[1],
            streams=streams,
            steps=steps,
            gate_first=gate_first,
        )
        if gate_first:
            self.gate = ResetGate(
                layer=layer,
                lanes=update_lanes,
                streams=streams,
                sum_bits=widths.sum_bits,
                sum_shift=widths.common_shift,
            )
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(spec.inputs, self.input_value))),
                "o": Out(stream.Signature(token_layout(spec.units, unsigned(spec.event_bits)))),
                "counters": Out(counters_layout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        spec = self.layer.spec
        rows = layer_rows(self.layer.input_weight, self.layer.recurrent_weight)

        m.submodules.queue = queue = EventQueue(
            size=spec.inputs, value=self.input_value, depth=self.queue_depth
        )
        m.submodules.recurrent = recurrent = self.recurrent
        m.submodules.scheduler = scheduler = self.scheduler
        m.submodules.fetch = fetch = self.fetch
        m.submodules.weights = weights = Rom(
            shape=self.lanes * self.weight_bits,
            contents=self.geometry.pack(rows, self.weight_bits),
            group="weights",
        )
        m.submodules.macs = macs = MacArray(
            geometry=self.geometry,
            weight_bits=self.weight_bits,
            value=self.value,
            sum_bits=self.widths.sum_bits,
            banks=BANKS,
            shifts=self.widths.product_shifts,
            gate_first=self.scheduler.gate_first,
        )
        m.submodules.gather = gather = self.gather
        m.submodules.update = update = self.update
        m.submodules.encoder = encoder = self.encoder

        m.submodules.counters = counters = Counters()

        connect(m, flipped(self.i), queue.i)
        connect(m, queue.o, scheduler.i)
        connect(m, recurrent.o, scheduler.recurrent)
        connect(m, scheduler.o, fetch.i)
        connect(m, scheduler.jobs, encoder.jobs)
        connect(m, encoder.o, flipped(self.o))
        # A gated event is its recurrent event fetched anew, so it counts once more.
        fetched = fetch.i.valid & fetch.i.ready & fetch.i.payload.fetch
        again = fetch.i.payload.recurrent | fetch.i.payload.gated
        m.d.comb += [
            weights.address0.eq(fetch.address),
            macs.weights.eq(weights.data0),
            macs.strobe.eq(fetch.strobe),
            macs.close.eq(fetch.close),
            macs.word.eq(fetch.word),
            macs.reading.eq(gather.reading),
            macs.read_bank.eq(gather.read_bank),
            macs.read_slots.eq(gather.read_slots),
            gather.lane_sums.eq(macs.sums),
            gather.start.eq(macs.closed | scheduler.close_now),
            gather.bank.eq(scheduler.bank),
            gather.step.eq(scheduler.step),
            update.ahead_group.eq(gather.ahead_group),
            update.strobe.eq(gather.strobe & ~gather.sums_step.gate),
            update.group.eq(gather.group),
            update.last.eq(gather.last),
            update.firsts.eq(gather.firsts),
            update.seconds.eq(gather.seconds),
            update.step.eq(gather.sums_step),
            encoder.result_strobe.eq(update.result_strobe),
            encoder.result.eq(update.result),
            counters.input_event.eq(fetched & ~again),
            counters.recurrent_event.eq(fetched & again),
            counters.strobe.eq(fetch.strobe),
            counters.waiting.eq(queue.o.valid),
            counters.blocked.eq(scheduler.blocked),
            counters.stalled.eq(encoder.o.valid & ~encoder.o.ready),
            self.counters.eq(counters.values),
            recurrent.i.valid.eq(encoder.recurrent.strobe),
            recurrent.i.payload.eq(encoder.recurrent.token),
            scheduler.lanes_empty.eq(fetch.idle & macs.empty),
            scheduler.read_done.eq(gather.done),
            scheduler.step_done.eq(encoder.done),
        ]
        if scheduler.gate_first:
            self._gate_events(m, gather, update, scheduler)
        return m

    def _gate_events(
        self, m: Module, gather: SumGather, update: NeuronUpdate, scheduler: TileScheduler
    ) -> None:
        """The way of recurrent events through the reset gate and back to the scheduler."""
        spec = self.layer.spec
        m.submodules.gate = gate = self.gate
        m.submodules.gate_encoder = encoder = EventEncoder(
            units=spec.units, lanes=self.update_lanes, event_bits=spec.event_bits, steps=1
        )
        m.submodules.gated = queue = RecurrentQueue(units=spec.units, event_bits=spec.event_bits, streams=1)
        connect(m, queue.o, scheduler.gated)
        closed = scheduler.jobs.valid & scheduler.jobs.ready & (scheduler.jobs.payload.kind == Kind.TICK)
        m.d.comb += [
            gate.ahead_group.eq(gather.ahead_group),
            gate.strobe.eq(gather.strobe & gather.sums_step.gate),
            gate.group.eq(gather.group),
            gate.last.eq(gather.last),
            gate.firsts.eq(gather.firsts),
            gate.step.eq(gather.sums_step),
            gate.sent_strobe.eq(update.result_strobe),
            gate.sent_address.eq(update.result_address),
            gate.sent.eq(update.result),
            encoder.jobs.valid.eq(closed),
            encoder.jobs.payload.kind.eq(Kind.TICK),
            encoder.result_strobe.eq(gate.result_strobe),
            encoder.result.eq(gate.result),
            encoder.o.ready.eq(1),
            queue.i.valid.eq(encoder.recurrent.strobe),
            queue.i.payload.eq(encoder.recurrent.token),
        ]
