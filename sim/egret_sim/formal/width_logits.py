"""The logits are those of section 5 of the page, and none overflows, in any number of steps that is allowed.

Sums and biases are free within their bounds; that the lanes' sums are what they should be is proved in
:mod:`~egret_sim.formal.width_sums`.
"""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, Signal, Value, signed

from egret_hw.accumulator import SUM_READ_LATENCY
from egret_hw.arithmetic import pipe, strobe_pipe
from egret_hw.block_sums import BLOCK_SUM_READ_LATENCY
from egret_hw.geometry import RowGeometry
from egret_hw.logit_scan import LogitScan
from egret_hw.memory import READ_LATENCY
from egret_hw.multiplier import MULTIPLY_LATENCY
from egret_hw.overflow import SIGNAL
from egret_hw.stream import Kind
from egret_hw.widths import ReadoutWidths
from egru.formats import IntFormat
from egru.image import Readout

from .checker import drive
from .contracts import chosen_words
from .page import bits_for, extremes, hull, within
from .peek import Peek
from .proof import Build
from .width_layers import ReadoutWidthsOf

_BANKS = 2
#: Cycles from a class's turn to its logit.
_LATENCY = READ_LATENCY + MULTIPLY_LATENCY + 1


def logits(
    readout: Readout,
    events: IntFormat,
    *,
    lanes: int,
    compact: bool = False,
    widths: ReadoutWidthsOf = ReadoutWidths.of,
) -> Build:
    """Each logit that goes to the queue is its class's sum and, as often as there are steps, its bias."""
    spec = readout.spec

    def build(m: Module) -> None:
        geometry = RowGeometry(positions=spec.classes, lanes=lanes)
        dut = LogitScan(
            readout=readout,
            geometry=geometry,
            widths=widths(readout, events),
            banks=_BANKS,
            compact=compact,
        )
        peek = Peek(m, "scan", dut)
        drive(m, dut)
        due = dut.due

        # What is due stays so until its logits are out.
        begins = peek.signal("begin")
        under_way = [peek.signal("active"), begins]
        for _ in range(_LATENCY):
            under_way.append(strobe_pipe(m, under_way[-1], "under_way", 1))
        busy = Cat(under_way).any()
        everything = Value.cast(due)
        last = pipe(m, everything, "due_before")
        was_busy = strobe_pipe(m, busy | dut.closed, "was_busy", 1)
        m.d.comb += [Assume(~was_busy | (everything == last)), Assume(~(busy & dut.closed))]

        # Free biases, and free sums of as many steps as are due.
        rows = [[int(weight) for weight in row] for row in readout.weight]
        low, high = hull(extremes(row, events) for row in rows)
        most = spec.max_steps if spec.mode == "mean" else 1
        biases = hull([(int(bias), int(bias)) for bias in readout.bias])
        sums = [
            Signal(signed(bits_for([(most * low, most * high)])), name=f"sum{n}") for n in range(spec.classes)
        ]
        numbers = [Signal(signed(bits_for([biases])), name=f"bias{n}") for n in range(spec.classes)]
        m.d.comb += [number.eq(AnyConst(len(number))) for number in (*sums, *numbers)]
        m.d.comb += [Assume(within(number, *biases)) for number in numbers]
        m.d.comb += Assume((due.steps >= 1) & (due.steps <= most) & (due.closing != Kind.EVENT))
        for steps in range(1, most + 1):
            held = Value.cast(within(sums[0], steps * low, steps * high))
            for sum_ in sums[1:]:
                held = held & within(sum_, steps * low, steps * high)
            m.d.comb += Assume(~(due.has_events & (due.steps == steps)) | held)
        words = chosen_words(peek.part("bias"))
        m.d.comb += [word.eq(number) for word, number in zip(words, numbers, strict=True)]

        # The lanes answer a reader.
        latency = BLOCK_SUM_READ_LATENCY if compact else SUM_READ_LATENCY
        asked = strobe_pipe(m, dut.reading, "asked", latency)
        with m.If(dut.reading):
            m.d.comb += Assert(dut.read_bank == due.bank)
        for lane in range(lanes):
            column = [sums[n] for n in range(lane, spec.classes, lanes)]
            answer = Signal(dut.sum_shape, name=f"answer{lane}")
            slot = pipe(m, dut.read_slots[lane], f"slot{lane}", latency)
            m.d.comb += [
                answer.eq(Mux(asked, Array(column)[slot], AnySeq(len(answer)).as_signed())),
                Assume(dut.lane_sums[lane] == answer),
            ]

        # What goes to the queue.
        entry, entering = peek.part("queue").i.payload, peek.part("queue").i.valid
        sum_ = Mux(due.has_events, Array(sums)[entry.index], 0)
        class_ = Signal(range(spec.classes + 1), name="class")
        with m.If(dut.closed):
            m.d.sync += class_.eq(0)
        with m.Elif(entering):
            m.d.sync += class_.eq(class_ + 1)
        m.d.comb += [
            Assert(~peek.signal(SIGNAL)),
            Assert(entering == under_way[-1]),
            Assert(~entering | (entry.value == sum_ + due.steps * Array(numbers)[entry.index])),
            Assert(~entering | (entry.index == class_)),
        ]

    return build
