"""The lanes side by side, fed by one word of weights per cycle."""

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import SUM_LATENCY, TAG_AHEAD, Accumulator, tag_layout
from .arithmetic import pipe, strobe_pipe
from .block_sums import BlockSums
from .geometry import CANDIDATE, GATES, LayerGeometry, RowGeometry
from .memory import READ_LATENCY
from .multiplier import MULTIPLY_LATENCY, Multiplier, PairMultiplier
from .stream import index_shape
from .weight_fetch import word_layout

PRODUCT_LATENCY = READ_LATENCY + MULTIPLY_LATENCY
"""Cycles from a word's address to its products."""


def close_latency(ask_latency: int) -> int:
    """Cycles from a border behind the weight fetch until its step counts as closed.

    The word before the border went out one cycle earlier, so its sum can be read one cycle earlier as well.
    """
    return PRODUCT_LATENCY + SUM_LATENCY - 1 - ask_latency


class MacArray(wiring.Component):
    """L lanes that multiply one word of L weights with one event value per cycle.

    `strobe` and `word` come from :class:`~egret_hw.weight_fetch.WeightFetch` in the cycle in which the
    memory gets the address; the weights follow `READ_LATENCY` cycles later. Nothing here can stall.

    Latency: `closed` rises `ask_latency` cycles before every sum of the step that `close` ended may be asked
    for; that is :attr:`close_latency` cycles after `close`. `SUM_READ_LATENCY` cycles from `read_slots` to
    `sums`.

    Parameters
    ----------
    geometry : of a layer (candidates then have second sums) or of a readout
    weight_bits : of one weight, signed
    value : shape of an event value
    sum_bits : accumulator width
    banks : banks of accumulators
    ask_latency : cycles from `closed` until a reader asks, at the earliest
    gate_first : the reset gate acts before the candidates' product: recurrent events are not for candidates,
        gated ones for them alone, and one sum each is enough
    shifts : what products of input and of recurrent events are shifted by, if not their values
    compact : sums in block memory (:class:`~egret_hw.block_sums.BlockSums`); `reading` is then 1 in cycles in
        which no product asks for its sum, the lanes read the same accumulator, and `sums` follow one cycle
        later

    Members
    -------
    strobe, close, word : In, from the weight fetch
    weights : In, L weights, lane 0 lowest
    closed : Out, 1 = the sums of the closed step are complete, or will be in time
    empty : Out, 1 = no product is under way, so a step may be called closed at once
    reading, read_bank, read_slots : In, 1 = that bank is being read; for each lane, the accumulator to read
    sums : Out, for each lane, its value
    """

    def __init__(
        self,
        *,
        geometry: RowGeometry,
        weight_bits: int,
        value: ShapeLike,
        sum_bits: int,
        banks: int,
        ask_latency: int,
        shifts: tuple[int, int] = (0, 0),
        gate_first: bool = False,
        compact: bool = False,
    ):
        self.compact = compact
        self.geometry = geometry
        self.lanes = geometry.lanes
        self.weight_bits = weight_bits
        self.sum_bits = sum_bits
        self.banks = banks
        self.ask_latency = ask_latency
        self.shifts = shifts
        self.gate_first = gate_first
        self.slots = geometry.slots if isinstance(geometry, LayerGeometry) else geometry.words
        self.word_layout = word_layout(words=geometry.words, value=value, banks=banks)
        value_shape = self.word_layout["value"].shape
        self.value_bits = value_shape.width if value_shape.signed else value_shape.width + 1
        super().__init__(
            {
                "strobe": In(1),
                "close": In(1),
                "word": In(self.word_layout),
                "weights": In(self.lanes * weight_bits),
                "closed": Out(1),
                "empty": Out(1),
                "reading": In(1),
                "read_bank": In(index_shape(banks)),
                "read_slots": In(data.ArrayLayout(index_shape(self.slots), self.lanes)),
                "sums": Out(data.ArrayLayout(signed(sum_bits), self.lanes)),
            }
        )

    @property
    def close_latency(self) -> int:
        """Cycles from `close` to `closed`."""
        return close_latency(self.ask_latency)

    def elaborate(self, platform):
        m = Module()
        value = pipe(m, self.word.value, "value", READ_LATENCY)
        m.d.comb += self.closed.eq(strobe_pipe(m, self.close, "closing", self.close_latency))

        ages = [self.strobe]
        for age in range(self.close_latency):
            ages.append(strobe_pipe(m, ages[-1], f"strobe_age{age + 1}", 1))
        m.d.comb += self.empty.eq(~Cat(ages).any())

        # Lanes of one class hold the same gate in each word, so they share a tag.
        classes = GATES if isinstance(self.geometry, LayerGeometry) else 1
        tags = [self._tag(m, number, classes) for number in range(min(classes, self.lanes))]

        products = self._products(m, value)
        if any(self.shifts):
            recurrent = pipe(m, self.word.recurrent | self.word.gated, "recurrent", PRODUCT_LATENCY)
            products = [
                Mux(recurrent, product.shift_left(self.shifts[1]), product.shift_left(self.shifts[0]))
                for product in products
            ]
        if self.compact:
            self._block_sums(m, products, tags)
            return m
        for number in range(self.lanes):
            m.submodules[f"lane{number}"] = lane = Accumulator(
                product_bits=self.weight_bits + self.value_bits + max(self.shifts),
                sum_bits=self.sum_bits,
                slots=self.slots,
                banks=self.banks,
                forward=self.geometry.words == 1,
            )
            m.d.comb += [
                lane.product.eq(products[number]),
                lane.tag.eq(tags[number % classes]),
                lane.reading.eq(self.reading),
                lane.read_bank.eq(self.read_bank),
                lane.read_slot.eq(self.read_slots[number]),
                self.sums[number].eq(lane.sum),
            ]
        return m

    def _block_sums(self, m: Module, products: list[Value], tags: list[Signal]) -> None:
        """Accumulators in block memory: lanes that share a tag share a memory."""
        for number, tag in enumerate(tags):
            lanes = range(number, self.lanes, len(tags))
            m.submodules[f"sums{number}"] = sums = BlockSums(
                product_bits=self.weight_bits + self.value_bits + max(self.shifts),
                sum_bits=self.sum_bits,
                lanes=len(lanes),
                slots=self.slots,
                banks=self.banks,
                words=self.geometry.words,
            )
            m.d.comb += [
                sums.tag.eq(tag),
                sums.reading.eq(self.reading),
                sums.read_bank.eq(self.read_bank),
                sums.read_slot.eq(self.read_slots[0]),
            ]
            for place, lane in enumerate(lanes):
                m.d.comb += [sums.products[place].eq(products[lane]), self.sums[lane].eq(sums.sums[place])]

    def _products(self, m: Module, value: Value) -> list[Value]:
        """Product of each lane; two lanes share a multiplier if their weights are narrow enough."""
        bits = {"weight_bits": self.weight_bits, "value_bits": self.value_bits}
        weights = [self.weights.word_select(n, self.weight_bits).as_signed() for n in range(self.lanes)]
        paired = self.lanes - self.lanes % 2 if PairMultiplier.shares(**bits, compact=self.compact) else 0
        products: list[Value] = []
        for number in range(0, paired, 2):
            m.submodules[f"multiplier{number}"] = pair = PairMultiplier(**bits)
            m.d.comb += [
                pair.weight0.eq(weights[number]),
                pair.weight1.eq(weights[number + 1]),
                pair.value.eq(value),
            ]
            products += [pair.product0, pair.product1]
        for number in range(paired, self.lanes):
            m.submodules[f"multiplier{number}"] = single = Multiplier(
                a_bits=self.weight_bits, b_bits=self.value_bits
            )
            m.d.comb += [single.a.eq(weights[number]), single.b.eq(value)]
            products.append(single.product)
        return products

    def _tag(self, m: Module, number: int, classes: int):
        """Tag of the lanes whose number is `number` modulo 3, `TAG_AHEAD` cycles before the product."""
        word, layout = self.word, tag_layout(slots=self.slots, banks=self.banks)
        tag = Signal(layout, name=f"tag{number}")
        candidate, second = 0, 0
        if classes > 1:
            gates = [self.geometry.gate(number, phase) for phase in range(GATES)]
            candidate = word.phase == gates.index(CANDIDATE) if self.geometry.mixed else gates[0] == CANDIDATE
            second = self.geometry.words + (word.third if self.geometry.mixed else word.word)
        if self.gate_first:
            meant, slot = ~Mux(candidate, word.recurrent, word.gated), word.word
        else:
            meant, slot = 1, Mux(candidate & word.recurrent, second, word.word)
        m.d.comb += [
            tag.strobe.eq(self.strobe & meant),
            tag.slot.eq(slot),
            tag.bank.eq(word.bank),
            tag.first.eq(Mux(candidate, word.first_kind, word.first)),
        ]
        return pipe(m, tag, f"tag{number}_late", PRODUCT_LATENCY - TAG_AHEAD)
