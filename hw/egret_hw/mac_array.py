"""The lanes side by side, fed by one word of weights per cycle."""

from collections.abc import Sequence

from amaranth.hdl import Module, ShapeLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import pipe, strobe_pipe
from .lane import SUM_LATENCY, Lane
from .memory import READ_LATENCY
from .stream import index_shape
from .weight_fetch import word_layout


class MacArray(wiring.Component):
    """L lanes that multiply one word of L weights with one event value per cycle.

    `strobe` and `word` come from :class:`~egret_hw.weight_fetch.WeightFetch` in the cycle in which the memory gets the
    address; the weights follow `READ_LATENCY` cycles later. Nothing here can stall.

    Latency: `READ_LATENCY + SUM_LATENCY` cycles from `strobe` to the readable sum; one cycle from `read_slots` to `sums`.
    `closed` rises when every sum of the step that `close` ended can be read.

    Parameters
    ----------
    lanes : L
    words : words of a row; each set has two banks of as many accumulators per lane
    weight_bits : of one weight, signed
    value : shape of an event value
    sum_bits : accumulator width of each set

    Members
    -------
    strobe, close, word : In, from the weight fetch
    weights : In, L weights, lane 0 lowest
    closed : Out, 1 = the sums of the closed step are complete
    read_slots : In, for each lane, the accumulator to read
    sums : Out, for each lane, its value in each set, one cycle later
    """

    def __init__(self, *, lanes: int, words: int, weight_bits: int, value: ShapeLike, sum_bits: Sequence[int]):
        self.lanes = lanes
        self.words = words
        self.weight_bits = weight_bits
        self.slots = 2 * words
        self.word_layout = word_layout(slots=self.slots, value=value, sets=len(sum_bits))
        value_shape = self.word_layout["value"].shape
        self.lane_parameters = {
            "weight_bits": weight_bits,
            "value_bits": value_shape.width if value_shape.signed else value_shape.width + 1,
            "sum_bits": tuple(sum_bits),
            "slots": self.slots,
            "forward": words == 1,
        }
        sums = data.StructLayout({f"set{n}": signed(bits) for n, bits in enumerate(sum_bits)})
        super().__init__(
            {
                "strobe": In(1),
                "close": In(1),
                "word": In(self.word_layout),
                "weights": In(lanes * weight_bits),
                "closed": Out(1),
                "read_slots": In(data.ArrayLayout(index_shape(self.slots), lanes)),
                "sums": Out(data.ArrayLayout(sums, lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        strobe = strobe_pipe(m, self.strobe, "strobe", READ_LATENCY)
        word = pipe(m, self.word, "word", READ_LATENCY)
        # The word before the close went out one cycle earlier, so its sum can be read one cycle earlier as well.
        m.d.comb += self.closed.eq(strobe_pipe(m, self.close, "closing", READ_LATENCY + SUM_LATENCY - 1))

        for number in range(self.lanes):
            m.submodules[f"lane{number}"] = lane = Lane(**self.lane_parameters)
            m.d.comb += [
                lane.strobe.eq(strobe),
                lane.weight.eq(self.weights.word_select(number, self.weight_bits)),
                lane.value.eq(word.value),
                lane.slot.eq(word.slot),
                lane.set.eq(word.set),
                lane.first.eq(word.first),
                lane.read_slot.eq(self.read_slots[number]),
                self.sums[number].eq(lane.sums),
            ]
        return m
