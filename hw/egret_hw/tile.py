"""One layer of the network in hardware."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.image import Layer

from .event_encoder import EventEncoder
from .geometry import RowGeometry, layer_rows
from .mac_array import MacArray
from .memory import Rom
from .neuron_update import NeuronUpdate
from .queues import EventQueue, RecurrentQueue
from .stream import token_layout
from .sum_gather import SumGather
from .tile_scheduler import TileScheduler
from .weight_fetch import WeightFetch
from .widths import event_shape_bits, signed_bits, sum_bound


class Tile(wiring.Component):
    """A layer: queue, scheduler, weight fetch, lanes, update and encoder.

    An event costs ceil(3N / L) cycles of its lanes; a silent unit costs none. A step without any event costs the update of all units
    and the pipeline's latency, and still ticks.

    Parameters
    ----------
    layer : the layer's integers and formats
    lanes : L, multipliers for products
    update_lanes : P, units updated per cycle
    queue_depth : tokens that wait in front of the tile

    Members
    -------
    i : In, stream of tokens: input events, TICK, END
    o : Out, stream of tokens: the layer's events, TICK, END
    """

    def __init__(self, *, layer: Layer, lanes: int, update_lanes: int, queue_depth: int):
        self.layer = layer
        self.lanes = lanes
        self.update_lanes = update_lanes
        self.queue_depth = queue_depth
        spec, arriving = layer.spec, layer.input_format
        self.geometry = RowGeometry(positions=3 * spec.units, lanes=lanes)
        self.weight_bits = max(spec.input_weight_bits, spec.recurrent_weight_bits)
        self.input_value = signed(arriving.bits) if arriving.signed else unsigned(arriving.bits)
        self.value = signed(max(event_shape_bits(arriving), event_shape_bits(layer.event_format)))
        self.sum_bits = (
            signed_bits(sum_bound(layer.input_weight, arriving)),
            signed_bits(sum_bound(layer.recurrent_weight, layer.event_format)),
        )
        self.sum_layout = data.StructLayout({f"set{n}": signed(bits) for n, bits in enumerate(self.sum_bits)})
        self.update = NeuronUpdate(layer=layer, lanes=update_lanes, sums=self.sum_layout)
        self.encoder = EventEncoder(units=spec.units, lanes=update_lanes, event_bits=spec.event_bits)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(spec.inputs, self.input_value))),
                "o": Out(stream.Signature(token_layout(spec.units, unsigned(spec.event_bits)))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        spec, words = self.layer.spec, self.geometry.words
        rows = layer_rows(self.layer.input_weight, self.layer.recurrent_weight)

        m.submodules.queue = queue = EventQueue(size=spec.inputs, value=self.input_value, depth=self.queue_depth)
        m.submodules.recurrent = recurrent = RecurrentQueue(units=spec.units, event_bits=spec.event_bits)
        m.submodules.scheduler = scheduler = TileScheduler(
            inputs=spec.inputs,
            units=spec.units,
            event_bits=spec.event_bits,
            input_value=self.input_value,
            value=self.value,
        )
        m.submodules.fetch = fetch = WeightFetch(rows=len(rows), words=words, value=self.value, sets=2)
        m.submodules.weights = weights = Rom(
            shape=self.lanes * self.weight_bits, contents=self.geometry.pack(rows, self.weight_bits)
        )
        m.submodules.macs = macs = MacArray(
            lanes=self.lanes, words=words, weight_bits=self.weight_bits, value=self.value, sum_bits=self.sum_bits
        )
        m.submodules.gather = gather = SumGather(
            geometry=self.geometry, group=3 * self.update_lanes, sums=self.sum_layout
        )
        m.submodules.update = update = self.update
        m.submodules.encoder = encoder = self.encoder

        connect(m, flipped(self.i), queue.i)
        connect(m, queue.o, scheduler.i)
        connect(m, recurrent.o, scheduler.recurrent)
        connect(m, scheduler.o, fetch.i)
        connect(m, encoder.recurrent, recurrent.i)
        connect(m, encoder.o, flipped(self.o))
        m.d.comb += [
            weights.address0.eq(fetch.address),
            macs.weights.eq(weights.data0),
            macs.strobe.eq(fetch.strobe),
            macs.close.eq(fetch.close),
            macs.word.eq(fetch.word),
            macs.read_slots.eq(gather.read_slots),
            gather.lane_sums.eq(macs.sums),
            gather.start.eq(macs.closed),
            gather.bank.eq(scheduler.bank),
            gather.proceed.eq(1),
            update.ahead_group.eq(gather.ahead_group),
            update.strobe.eq(gather.strobe),
            update.group.eq(gather.group),
            update.last.eq(gather.last),
            update.positions.eq(gather.positions),
            update.has_input.eq(scheduler.has_input),
            update.has_recurrent.eq(scheduler.has_recurrent),
            update.fresh.eq(scheduler.fresh),
            encoder.result_strobe.eq(update.result_strobe),
            encoder.result.eq(update.result),
            encoder.busy.eq(scheduler.busy),
            encoder.end_pending.eq(scheduler.end_pending),
            scheduler.recurrent_empty.eq(recurrent.empty),
            scheduler.done.eq(encoder.done),
            scheduler.end_done.eq(encoder.end_done),
        ]
        return m
