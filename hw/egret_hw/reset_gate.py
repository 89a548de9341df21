"""The reset gate on its own: events gated before the candidates' product (docs/numerics.md, section 3)."""

from amaranth.hdl import Module, Mux, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from egru.image import Layer

from .arithmetic import half, pipe, saturate, strobe_pipe, times
from .geometry import GATES
from .memory import READ_LATENCY, Ram, Rom
from .multiplier import MULTIPLY_LATENCY, Multiplier
from .neuron_update import GATE_BITS, Parameters, result_layout, table_entry
from .overflow import OverflowWatch
from .step import step_layout
from .stream import index_shape
from .sum_gather import GATHER_LATENCY
from .widths import LayerWidths, R, rounded_biases


class ResetGate(wiring.Component):
    """Multiplies what each unit sent in the step before with its reset gate, for reset="before".

    It looks at the sums of P units per cycle, as :class:`~egret_hw.neuron_update.NeuronUpdate` does, and
    remembers from the update's results what was sent. A unit whose gated value rounds to zero gives no
    event.

    Latency: :data:`LATENCY` cycles from a group's sums to its result. Throughput: one group per cycle.

    Parameters
    ----------
    layer : the layer's integers and formats
    lanes : P
    streams : sequences that are under way at once
    widths : of the layer's arithmetic

    Members
    -------
    ahead_group : In, number of a group, `GATHER_LATENCY` cycles before the sums
    strobe, group, last, firsts, step : In, the sums, as the update gets them
    sent_strobe, sent_address, sent : In, results of the update, and where they are kept
    result_strobe, result : Out, gated events of a group
    """

    LATENCY = 2 + READ_LATENCY + MULTIPLY_LATENCY + 1

    def __init__(self, *, layer: Layer, lanes: int, streams: int, widths: LayerWidths):
        spec = layer.spec
        self.layer = layer
        self.lanes = lanes
        self.groups = -(-spec.units // lanes)
        self.streams = streams
        self.widths = widths
        self.layout = result_layout(units=spec.units, lanes=lanes, event_bits=spec.event_bits)
        group = index_shape(self.groups)
        super().__init__(
            {
                "ahead_group": In(group),
                "strobe": In(1),
                "group": In(group),
                "last": In(1),
                "firsts": In(data.ArrayLayout(signed(widths.sum_bits), GATES * lanes)),
                "step": In(step_layout(streams=streams)),
                "sent_strobe": In(1),
                "sent_address": In(index_shape(self.groups * streams)),
                "sent": In(self.layout),
                "result_strobe": Out(1),
                "result": Out(self.layout),
            }
        )

    @property
    def biases(self) -> Parameters:
        """The reset gate's biases with the rounding half added, per group of units."""
        bias = rounded_biases(self.layer, self.widths.gate_shift, self.widths.candidate_shift)[1:2]
        return Parameters(bias.T, self.lanes, signed(self.widths.bias_bits))

    def elaborate(self, platform):
        m = Module()
        spec, widths = self.layer.spec, self.widths
        m.submodules.bias = bias_rom = self.biases.rom()
        bias = data.View(self.biases.layout, bias_rom.data0)
        m.d.comb += bias_rom.address0.eq(
            pipe(m, self.ahead_group, "bias_group", GATHER_LATENCY - READ_LATENCY)
        )

        at_gate = 2 + READ_LATENCY
        address = times(self.step.stream, self.groups) + self.group if self.streams > 1 else self.group
        m.submodules.sent = sent = Ram(shape=self.lanes * spec.event_bits, depth=self.groups * self.streams)
        m.d.comb += [
            sent.address.eq(pipe(m, address, "sent_group", at_gate - READ_LATENCY)),
            sent.write_enable.eq(self.sent_strobe),
            sent.write_address.eq(self.sent_address),
            self.result_strobe.eq(strobe_pipe(m, self.strobe, "strobe", self.LATENCY)),
            self.result.group.eq(pipe(m, self.group, "group", self.LATENCY)),
            self.result.last.eq(pipe(m, self.last, "last", self.LATENCY)),
        ]
        fresh = pipe(m, self.step.fresh, "fresh", at_gate)

        overflow = OverflowWatch()
        for lane in range(self.lanes):
            always = (self.groups - 1) * self.lanes + lane < spec.units
            real = self.strobe & (1 if always else self.group != self.groups - 1)
            r_sum = self.firsts[GATES * lane + 1].shift_left(widths.common_shift)
            total = pipe(
                m, overflow.fit(r_sum + bias[lane][0], widths.total_bits(R), real), f"lane{lane}_sum"
            )
            index = pipe(
                m, saturate(total.shift_right(widths.gate_shift), spec.table_bits), f"lane{lane}_index"
            )
            table = Rom(shape=unsigned(GATE_BITS), contents=self.layer.sigmoid.tolist())
            product = Multiplier(a_bits=GATE_BITS + 1, b_bits=spec.event_bits + 1)
            m.submodules[f"sigmoid{lane}"] = table
            m.submodules[f"product{lane}"] = product
            before = sent.data.word_select(lane, spec.event_bits)
            m.d.comb += [
                table.address0.eq(table_entry(index, spec.table_bits)),
                product.a.eq(table.data0),
                product.b.eq(Mux(fresh, 0, before)),
                sent.write_data.word_select(lane, spec.event_bits).eq(
                    Mux(self.sent.fired[lane], self.sent["values"][lane], 0)
                ),
            ]
            gated = (product.product + half(GATE_BITS)).shift_right(GATE_BITS)[: spec.event_bits]
            m.d.comb += [
                self.result.fired[lane].eq(pipe(m, gated != 0, f"lane{lane}_fired")),
                self.result["values"][lane].eq(pipe(m, gated, f"lane{lane}_gated")),
            ]
        overflow.drive(m)
        return m
