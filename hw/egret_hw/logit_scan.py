"""Sends the logits once their sums are complete."""

from amaranth.hdl import Module, Mux, Shape, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from egru.image import Readout

from .arithmetic import pipe, strobe_pipe
from .memory import READ_LATENCY, Rom
from .multiplier import MULTIPLY_LATENCY, Multiplier
from .stream import Kind, index_shape, token_layout
from .sum_gather import GATHER_LATENCY
from .widths import signed_bits

_IN_FLIGHT = GATHER_LATENCY + MULTIPLY_LATENCY + 2


class LogitScan(wiring.Component):
    """Adds biases to sums and sends them as logits, followed by TICK or END (docs/numerics.md, section 5).

    A logit is sum + bias * steps. Throughput: a logit per cycle while the stream is ready.

    Parameters
    ----------
    readout : weights, biases and mode
    sum_bits : width of the sums

    Members
    -------
    strobe, group, positions : In, from the gather of groups of one position
    ahead_group : In, from the gather
    proceed : Out, to the gather: there is room for what it may have under way
    has_events, steps, scan, closing, busy : In, from the scheduler
    closed : In, 1 = the sums are complete
    o : Out, stream of logits
    done : Out, 1 = the closing token was taken
    """

    def __init__(self, *, readout: Readout, sum_bits: int):
        self.readout = readout
        spec = readout.spec
        self.classes = spec.classes
        self.steps_shape = Shape.cast(range(spec.max_steps + 1))
        self.bias_bits = signed_bits(max(abs(int(b)) for b in readout.bias))
        self.sum_layout = data.StructLayout({"set0": signed(sum_bits)})
        bias_total = max(abs(int(b)) for b in readout.bias) * spec.max_steps
        self.logit = signed(max(sum_bits, signed_bits(bias_total)) + 1)
        super().__init__(
            {
                "strobe": In(1),
                "group": In(index_shape(self.classes)),
                "ahead_group": In(index_shape(self.classes)),
                "positions": In(data.ArrayLayout(self.sum_layout, 1)),
                "proceed": Out(1),
                "closed": In(1),
                "has_events": In(1),
                "steps": In(self.steps_shape),
                "scan": In(1),
                "closing": In(Kind),
                "o": Out(stream.Signature(token_layout(self.classes, self.logit))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bias = bias = Rom(shape=signed(self.bias_bits), contents=self.readout.bias.tolist())
        m.d.comb += bias.address0.eq(pipe(m, self.ahead_group, "bias_group", GATHER_LATENCY - READ_LATENCY))
        m.submodules.product = product = Multiplier(a_bits=self.bias_bits, b_bits=self.steps_shape.width + 1)
        m.d.comb += [product.a.eq(bias.data0), product.b.eq(self.steps)]

        sum_ = pipe(m, Mux(self.has_events, self.positions[0].set0, 0), "sum", MULTIPLY_LATENCY)
        logit = pipe(m, (sum_ + product.product)[: self.logit.width].as_signed(), "logit")
        strobe = strobe_pipe(m, self.strobe, "strobe", MULTIPLY_LATENCY + 1)
        group = pipe(m, self.group, "group", MULTIPLY_LATENCY + 1)

        waiting = data.StructLayout({"index": index_shape(self.classes), "value": self.logit})
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=waiting.size, depth=2 * _IN_FLIGHT)
        entry = data.View(waiting, queue.w_data)
        head = data.View(waiting, queue.r_data)
        m.d.comb += [
            entry.index.eq(group),
            entry.value.eq(logit),
            queue.w_en.eq(strobe),
            self.proceed.eq(queue.level < _IN_FLIGHT),
        ]

        # The closing token follows the last logit; without logits it follows the border itself.
        closing = Signal()
        last = head.index == self.classes - 1
        with m.If(closing):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.kind.eq(self.closing), self.done.eq(self.o.ready)]
            with m.If(self.o.ready):
                m.d.sync += closing.eq(0)
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(queue.r_rdy),
                self.o.payload.kind.eq(Kind.EVENT),
                self.o.payload.index.eq(head.index),
                self.o.payload.value.eq(head.value),
                queue.r_en.eq(self.o.ready),
            ]
            with m.If((self.closed & ~self.scan) | (queue.r_rdy & self.o.ready & last)):
                m.d.sync += closing.eq(1)
        return m

