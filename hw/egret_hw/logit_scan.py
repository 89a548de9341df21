"""Sends the logits once their sums are complete."""

from amaranth.hdl import Array, Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from egru.image import Readout

from .accumulator import SUM_READ_LATENCY
from .arithmetic import pipe, strobe_pipe
from .block_sums import BLOCK_SUM_READ_LATENCY, HOLD_LATENCY
from .fifo import PassingFifo
from .geometry import RowGeometry
from .memory import READ_LATENCY, Rom
from .multiplier import MULTIPLY_LATENCY, Multiplier
from .overflow import OverflowWatch
from .readout_scheduler import due_layout
from .stream import Kind, index_shape, token_layout
from .widths import ReadoutWidths

_SLOT_LATENCY = 2  # from a class's turn to the address in its lane
ASK_LATENCY = 1 + _SLOT_LATENCY
"""Cycles from `closed` to the first address."""

_IN_FLIGHT = READ_LATENCY + MULTIPLY_LATENCY + 2


class LogitScan(wiring.Component):
    """Reads the sums class by class, adds biases, and sends logits, then TICK or END.

    Source: docs/numerics.md, section 5.

    A logit is sum + bias * steps. Throughput: a logit per cycle while the stream is ready; in the compact
    form one at a time, each with a cycle of the lanes.

    Parameters
    ----------
    readout : weights, biases and mode
    geometry : of its rows
    widths : of its sums and logits
    banks : banks of sums
    compact : the sums lie in block memory, whose only port to read belongs to products, too

    Members
    -------
    hold : Out, 1 = no word of weights may go out in this cycle
    closed : In, 1 = the sums of what is due are complete
    due : In, from the scheduler
    reading, read_bank, read_slots, lane_sums : to and from :class:`~egret_hw.mac_array.MacArray`
    o : Out, stream of logits
    done : Out, 1 = the closing token was taken
    """

    def __init__(
        self,
        *,
        readout: Readout,
        geometry: RowGeometry,
        widths: ReadoutWidths,
        banks: int,
        compact: bool = False,
    ):
        self.compact = compact
        self.readout = readout
        self.geometry = geometry
        spec = readout.spec
        self.classes = spec.classes
        self.steps_shape = Shape.cast(range(spec.max_steps + 1))
        self.bias_bits = widths.bias_bits
        self.sum_shape = signed(widths.sum_bits)
        self.logit = signed(widths.logit_bits)
        self.entry = data.StructLayout({"index": index_shape(self.classes), "value": self.logit})
        self.waiting = 1 if self.compact else 2 * _IN_FLIGHT  # logits that wait at most
        super().__init__(
            {
                "closed": In(1),
                "due": In(due_layout(banks=banks, max_steps=spec.max_steps)),
                "hold": Out(1),
                "reading": Out(1),
                "read_bank": Out(index_shape(banks)),
                "read_slots": Out(data.ArrayLayout(index_shape(geometry.words), geometry.lanes)),
                "lane_sums": In(data.ArrayLayout(self.sum_shape, geometry.lanes)),
                "o": Out(stream.Signature(token_layout(self.classes, self.logit))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = self.geometry.lanes
        m.submodules.queue = queue = PassingFifo(self.entry, depth=self.waiting, small=self.compact)
        slot_latency = HOLD_LATENCY if self.compact else _SLOT_LATENCY
        sum_latency = BLOCK_SUM_READ_LATENCY if self.compact else SUM_READ_LATENCY

        # The class to read: lane `lane` of word `word`. A read begins only if there is room for all that is
        # under way.
        active = Signal()
        class_ = Signal(index_shape(self.classes))
        lane, word = Signal(index_shape(lanes)), Signal(index_shape(self.geometry.words))
        begin = Signal()
        strobes: list[Value] = [begin]
        for age in range(READ_LATENCY + MULTIPLY_LATENCY + 1):
            strobes.append(strobe_pipe(m, strobes[-1], f"strobe{age}", 1))
        room = ~Cat(strobes[1:]).any() & ~queue.o.valid if self.compact else queue.roomy
        m.d.comb += begin.eq(active & room)
        last_class = class_ == self.classes - 1
        with m.If(self.closed & self.due.scan):
            m.d.sync += [active.eq(1), class_.eq(0), lane.eq(0), word.eq(0)]
        with m.Elif(begin):
            m.d.sync += [active.eq(~last_class), class_.eq(class_ + 1)]
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1)]
            with m.Else():
                m.d.sync += lane.eq(lane + 1)
        m.d.comb += [
            self.hold.eq(begin if self.compact else 0),
            self.reading.eq(strobe_pipe(m, begin if self.compact else active, "reading_slot", slot_latency)),
            self.read_bank.eq(self.due.bank),
            *[slot.eq(pipe(m, word, "slot", slot_latency)) for slot in self.read_slots],
        ]

        m.submodules.bias = bias = Rom(shape=signed(self.bias_bits), contents=self.readout.bias.tolist())
        m.submodules.product = product = Multiplier(a_bits=self.bias_bits, b_bits=self.steps_shape.width + 1)
        m.d.comb += [
            bias.address0.eq(class_),
            product.a.eq(bias.data0),
            product.b.eq(self.due.steps),
        ]
        answer = Array(self.lane_sums[n] for n in range(lanes))[
            pipe(m, lane, "answer_lane", slot_latency + sum_latency)
        ]
        # The sum meets the product at the multiplier's output.
        wait = READ_LATENCY + MULTIPLY_LATENCY - slot_latency - sum_latency
        counted = pipe(m, Mux(self.due.has_events, answer, 0), "sum", wait)
        overflow = OverflowWatch()
        total = overflow.fit(counted + product.product, self.logit.width, strobes[-2])
        overflow.drive(m)
        logit = pipe(m, total, "logit")

        entry, head = queue.i.payload, queue.o.payload
        m.d.comb += [
            entry.index.eq(pipe(m, class_, "class", READ_LATENCY + MULTIPLY_LATENCY + 1)),
            entry.value.eq(logit),
            queue.i.valid.eq(strobes[-1]),
        ]

        # The closing token follows the last logit; without logits it follows the border itself.
        closing = Signal()
        with m.If(closing):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.kind.eq(self.due.closing),
                self.done.eq(self.o.ready),
            ]
            with m.If(self.o.ready):
                m.d.sync += closing.eq(0)
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(queue.o.valid),
                self.o.payload.kind.eq(Kind.EVENT),
                self.o.payload.index.eq(head.index),
                self.o.payload.value.eq(head.value),
                queue.o.ready.eq(self.o.ready),
            ]
            last = queue.o.valid & self.o.ready & (head.index == self.classes - 1)
            with m.If((self.closed & ~self.due.scan) | last):
                m.d.sync += closing.eq(1)
        return m
