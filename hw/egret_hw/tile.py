"""One layer of the network in hardware."""

from amaranth.hdl import Module, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from egru.image import Layer

from .counters import Counters, counters_layout
from .event_encoder import EventEncoder
from .geometry import LayerGeometry, layer_rows
from .mac_array import MacArray
from .memory import Rom, SpramMemory
from .neuron_update import NeuronUpdate
from .queues import EventQueue, RecurrentQueue
from .reset_gate import ResetGate
from .serial_gather import SERIAL_START_LATENCY, SerialGather
from .stream import Kind, index_shape, token_layout
from .sum_gather import START_LATENCY, SumGather
from .tile_scheduler import BANKS, TileScheduler
from .weight_fetch import WeightFetch
from .widths import LayerWidths


def weight_words(layer: Layer, lanes: int, update_lanes: int, *, compact: bool) -> list[int]:
    """A layer's weights as the memory of a tile with these parameters holds them, by address.

    Recurrent weights of candidates lie where the update wants their sums; at the usual place where the reset
    gate acts on events (there are no second sums), and where sums are read one by one.
    """
    spec, geometry = layer.spec, LayerGeometry.of(units=layer.spec.units, lanes=lanes)
    seconds = None
    if spec.reset == "after" and not compact:
        seconds = [geometry.second_position(unit, update_lanes) for unit in range(spec.units)]
    rows = layer_rows(layer.input_weight, layer.recurrent_weight, seconds)
    return geometry.pack(rows, max(spec.input_weight_bits, spec.recurrent_weight_bits))


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
    loaded : whether the weights are written at run time
    compact : the form for small devices, see :class:`~egret_hw.config.AcceleratorConfig`

    Members
    -------
    load : In, stream of :attr:`load_layout`, only if `loaded`: words of weights, always taken at once; while
        one is written, what the lanes read is undefined
    i : In, stream of tokens: input events, TICK, END, PASS
    o : Out, stream of tokens: the layer's events, TICK, END, PASS
    counters : Out, :func:`~egret_hw.counters.counters_layout`
    """

    def __init__(
        self,
        *,
        layer: Layer,
        lanes: int,
        update_lanes: int,
        queue_depth: int,
        streams: int = 1,
        loaded: bool = False,
        compact: bool = False,
    ):
        self.loaded = loaded
        self.compact = compact
        self.layer = layer
        self.lanes = lanes
        self.update_lanes = update_lanes
        self.queue_depth = queue_depth
        self.streams = streams
        spec, arriving = layer.spec, layer.input_format
        self.geometry = LayerGeometry.of(units=spec.units, lanes=lanes)
        self.weight_bits = max(spec.input_weight_bits, spec.recurrent_weight_bits)
        self.input_value = signed(arriving.bits) if arriving.signed else unsigned(arriving.bits)
        self.widths = widths = LayerWidths.of(layer, weight_bits=self.weight_bits, compact=compact)
        self.value = signed(widths.value_bits)
        # With one stream a step waits for the one before; with more, two may be in the update.
        steps = min(2, streams)
        self.recurrent = RecurrentQueue(
            units=spec.units, event_bits=spec.event_bits, streams=streams, small=compact
        )
        self.fetch = WeightFetch(
            rows=spec.inputs + spec.units, words=self.geometry.words, value=self.value, banks=BANKS
        )
        self.gather: SumGather | SerialGather
        if compact:
            self.gather = SerialGather(geometry=self.geometry, sum_bits=widths.sum_bits, streams=streams)
        else:
            self.gather = SumGather(
                geometry=self.geometry, units=update_lanes, sum_bits=widths.sum_bits, streams=streams
            )
        self.update = NeuronUpdate(
            layer=layer,
            lanes=update_lanes,
            streams=streams,
            widths=widths,
            compact=compact,
        )
        gate_first = spec.reset == "before"
        self.encoder = EventEncoder(
            units=spec.units, lanes=update_lanes, event_bits=spec.event_bits, steps=steps, small=compact
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
                widths=widths,
            )
        members = {"load": In(stream.Signature(self.load_layout))} if loaded else {}
        super().__init__(
            {
                **members,
                "i": In(stream.Signature(token_layout(spec.inputs, self.input_value))),
                "o": Out(stream.Signature(token_layout(spec.units, unsigned(spec.event_bits)))),
                "counters": Out(counters_layout()),
            }
        )

    @property
    def weight_words(self) -> list[int]:
        """The layer's weights as the memory holds them, by address."""
        return weight_words(self.layer, self.lanes, self.update_lanes, compact=self.compact)

    @property
    def load_layout(self) -> data.StructLayout:
        """One word of weights and its address."""
        spec = self.layer.spec
        words = (spec.inputs + spec.units) * self.geometry.words
        return data.StructLayout({"address": index_shape(words), "word": self.lanes * self.weight_bits})

    def elaborate(self, platform):
        m = Module()
        spec = self.layer.spec

        m.submodules.queue = queue = EventQueue(
            size=spec.inputs, value=self.input_value, depth=self.queue_depth, small=self.compact
        )
        m.submodules.recurrent = recurrent = self.recurrent
        m.submodules.scheduler = scheduler = self.scheduler
        m.submodules.fetch = fetch = self.fetch
        weight_data = self._weights(m, fetch.address)
        m.submodules.macs = macs = MacArray(
            geometry=self.geometry,
            weight_bits=self.weight_bits,
            value=self.value,
            sum_bits=self.widths.sum_bits,
            banks=BANKS,
            ask_latency=SERIAL_START_LATENCY if self.compact else START_LATENCY,
            shifts=self.widths.product_shifts,
            gate_first=self.scheduler.gate_first,
            compact=self.compact,
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
            macs.weights.eq(weight_data),
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
            update.ahead.eq(gather.ahead),
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
        if isinstance(gather, SerialGather):
            m.d.comb += fetch.hold.eq(gather.hold)
        if scheduler.gate_first:
            self._gate_events(m, gather, update, scheduler)
        return m

    def _weights(self, m: Module, address: Value) -> Value:
        """The word of weights that lies at `address`, `READ_LATENCY` cycles later."""
        width = self.lanes * self.weight_bits
        if not self.loaded:
            m.submodules.weights = rom = Rom(shape=width, contents=self.weight_words, group="weights")
            m.d.comb += rom.address0.eq(address)
            return rom.data0
        m.submodules.weights = ram = SpramMemory(shape=width, depth=len(self.weight_words))
        m.d.comb += [
            ram.address.eq(address),
            ram.write_enable.eq(self.load.valid),
            ram.write_address.eq(self.load.payload.address),
            ram.write_data.eq(self.load.payload.word),
            self.load.ready.eq(1),
        ]
        return ram.data

    def _gate_events(
        self, m: Module, gather: SumGather | SerialGather, update: NeuronUpdate, scheduler: TileScheduler
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
