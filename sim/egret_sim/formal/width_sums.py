"""No sum in the lanes overflows, and each accumulator holds the sum that the page says.

The weights are free, up to what the accumulators were made for: the extremes of each sum, as the page has
them, fit the bits that the layer's own weights need. Rows and flags come as the scheduler and the weight
fetch give them, which their own proofs show; that a reader gets what an accumulator holds is proved there as
well, and in :mod:`~egret_sim.formal.gathering`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Module,
    Mux,
    Signal,
    Value,
    ValueLike,
    signed,
    unsigned,
)

from egret_hw.accumulator import TAG_AHEAD
from egret_hw.arithmetic import pipe
from egret_hw.geometry import CANDIDATE, GATES, LayerGeometry, RowGeometry
from egret_hw.logit_scan import ASK_LATENCY
from egret_hw.mac_array import PRODUCT_LATENCY, MacArray
from egret_hw.memory import READ_LATENCY
from egret_hw.overflow import SIGNAL
from egret_hw.serial_gather import SERIAL_START_LATENCY
from egret_hw.sum_gather import START_LATENCY
from egret_hw.tile_scheduler import BANKS
from egret_hw.widths import LayerWidths, ReadoutWidths
from egru.formats import IntFormat
from egru.image import Layer, Readout

from .page import Extremes, bits_for, extremes, fits, of_product, own_sum_bounds, sum_bounds, times
from .peek import Peek
from .proof import Build
from .width_layers import ReadoutWidthsOf, Widths, weight_bits_of

INPUT, RECURRENT, GATED = range(3)
_BANK = 1
#: Cycles from the cycle after a word to its sum in the memory.
_WRITTEN = PRODUCT_LATENCY - TAG_AHEAD + 2


def layer_sums(layer: Layer, *, lanes: int, compact: bool = False, widths: Widths = LayerWidths.of) -> Build:
    """Steps in which each input and each unit has an event or none, in any order and at any spacing."""
    spec = layer.spec
    units, gate_first = spec.units, spec.reset == "before"

    def build(m: Module) -> None:
        weight_bits = weight_bits_of(layer)
        given = widths(layer, weight_bits=weight_bits, compact=compact)
        geometry = LayerGeometry.of(units=units, lanes=lanes)
        macs = MacArray(
            geometry=geometry,
            weight_bits=weight_bits,
            value=signed(given.value_bits),
            sum_bits=given.sum_bits,
            banks=BANKS,
            ask_latency=SERIAL_START_LATENCY if compact else START_LATENCY,
            shifts=given.product_shifts,
            gate_first=gate_first,
            compact=compact,
        )
        stored = _Stored(m, Peek(m, "macs", macs))

        # Free weights whose extremes fit the bits that the layer's own weights need.
        rows = range(GATES * units)
        inputs = [_free(m, spec.inputs, spec.input_weight_bits, f"input_row{row}") for row in rows]
        recurrent = [_free(m, units, spec.recurrent_weight_bits, f"recurrent_row{row}") for row in rows]
        bits = bits_for(bounds for unit in own_sum_bounds(layer) for bounds in unit)
        for sums in sum_bounds(layer, inputs, recurrent):
            m.d.comb += [Assume(fits(bounds, bits)) for bounds in sums]

        # One event after another; a row's words follow each other.
        words = _Words(m, macs, kinds=GATED + 1 if gate_first else RECURRENT + 1)
        kind, source = words.kind, words.source
        arriving, own = layer.input_format, layer.event_format
        x = words.any(m, signed(arriving.bits) if arriving.signed else arriving.bits, "x")
        y = words.any(m, own.bits, "y")
        first, first_kind = words.any(m, 1, "first"), words.any(m, 1, "first_kind")
        of_input, moved, tag = kind == INPUT, given.value_shifts, macs.word
        m.d.comb += [
            Assume(source < Mux(of_input, spec.inputs, units)),
            tag.value.eq(Mux(of_input, x.shift_left(moved[0]), y.shift_left(moved[1]))),
            tag.recurrent.eq(kind == RECURRENT),
            tag.gated.eq(kind == GATED),
            tag.first.eq(first),
            tag.first_kind.eq(first_kind),
        ]
        words.send(
            m, _packed(inputs, recurrent, geometry, weight_bits), Mux(of_input, source, source + spec.inputs)
        )
        came = [
            {
                number: words.once(m, place, kind == number, spec.inputs if number == INPUT else units)
                for number in ((INPUT, RECURRENT, GATED) if gate_first else (INPUT, RECURRENT))
            }
            for place in range(geometry.words)
        ]

        # The plain sums, at the smaller shift.
        common = min(layer.input_shift, layer.recurrent_shift)
        shifts = layer.input_shift - common, layer.recurrent_shift - common
        for unit in range(units):
            for gate in range(GATES):
                row, position = gate * units + unit, GATES * unit + gate
                place = position // lanes
                product = Mux(
                    of_input,
                    (Array(inputs[row])[source] * x) << shifts[0],
                    (Array(recurrent[row])[source] * y) << shifts[1],
                )
                stored.product(m, position, words.out(place), product)

                def total(
                    *kinds: int,
                    flag: Value,
                    slot: int,
                    row=row,
                    position=position,
                    place=place,
                    product=product,
                ):
                    """The sum of events of these kinds."""
                    hit = words.out(place) & Cat(kind == number for number in kinds).any()
                    total = words.total(m, hit, product, bits)
                    parts = [
                        (there, of_product(weight, events, shift))
                        for number in kinds
                        for weights, events, shift in [
                            (inputs[row], arriving, shifts[0])
                            if number == INPUT
                            else (recurrent[row], own, shifts[1])
                        ]
                        for there, weight in zip(came[place][number], weights, strict=True)
                    ]
                    total.stays_within(m, parts)
                    m.d.comb += Assume(~hit | (flag == ~total.some))
                    stored.sum(m, position, slot, total)

                if gate != CANDIDATE:
                    total(INPUT, RECURRENT, flag=first, slot=place)
                elif gate_first:
                    total(INPUT, GATED, flag=first_kind, slot=place)
                else:
                    total(INPUT, flag=first_kind, slot=place)
                    behind = place // GATES if geometry.mixed else place
                    total(RECURRENT, flag=first_kind, slot=geometry.words + behind)

    return build


def readout_sums(
    readout: Readout, events: IntFormat, *, lanes: int, widths: ReadoutWidthsOf = ReadoutWidths.of
) -> Build:
    """The same of a readout, whose sums are those of one step, or in mode "mean" of `max_steps` steps."""
    spec = readout.spec
    steps = spec.max_steps if spec.mode == "mean" else 1
    units = readout.weight.shape[1]

    def build(m: Module) -> None:
        geometry = RowGeometry(positions=spec.classes, lanes=lanes)
        macs = MacArray(
            geometry=geometry,
            weight_bits=spec.weight_bits,
            value=unsigned(events.bits),
            sum_bits=widths(readout, events).sum_bits,
            banks=BANKS,
            ask_latency=ASK_LATENCY,
        )
        stored = _Stored(m, Peek(m, "macs", macs))
        rows = [_free(m, units, spec.weight_bits, f"row{n}") for n in range(spec.classes)]
        own = [[int(weight) for weight in row] for row in readout.weight]
        bits = bits_for(times(extremes(row, events), steps) for row in own)
        m.d.comb += [Assume(fits(times(extremes(row, events), steps), bits)) for row in rows]

        words = _Words(m, macs)
        y, first = words.any(m, events.bits, "y"), words.any(m, 1, "first")
        m.d.comb += [Assume(words.source < units), macs.word.value.eq(y), macs.word.first.eq(first)]
        columns = [[row[source] for row in rows] for source in range(units)]
        words.send(m, [_in_words(column, geometry, spec.weight_bits) for column in columns], words.source)
        came = [words.once(m, place, Const(1), units, steps) for place in range(geometry.words)]
        for position, row in enumerate(rows):
            place = position // lanes
            product, hit = Array(row)[words.source] * y, words.out(place)
            stored.product(m, position, hit, product)
            total = words.total(m, hit, product, bits)
            parts = zip(came[place], (of_product(weight, events) for weight in row), strict=True)
            total.stays_within(m, list(parts))
            m.d.comb += Assume(~hit | (first == ~total.some))
            stored.sum(m, position, place, total)

    return build


@dataclass(frozen=True)
class _Total:
    """A plain sum, and whether anything was added to it."""

    value: Signal
    some: Signal

    def stays_within(self, m: Module, parts: Sequence[tuple[Value, Extremes]]) -> None:
        """The sum lies between the extremes of what has come: a step of the induction."""
        low, high = Const(0), Const(0)
        for there, (least, most) in parts:
            low, high = low + there * least, high + there * most
        m.d.comb += [Assert(self.value >= low), Assert(self.value <= high)]


class _Words:
    """Words of rows that come to the lanes as the weight fetch sends them: of any events, one after another.

    Attributes
    ----------
    kind, source : of the event whose words go out; any, and the caller says which there are
    word : number of the word that goes out, or of the next one
    begins : an event's first word goes out
    forget : what came so far belongs to a step before
    """

    def __init__(self, m: Module, macs: MacArray, *, kinds: int = 1):
        self.macs = macs
        count = macs.geometry.words
        self.begins, self.forget = Signal(), Signal()
        self.word = Signal(range(max(2, count)), name="next_word")
        m.d.comb += [
            self.begins.eq((self.word == 0) & AnySeq(1)),
            self.forget.eq((self.word == 0) & ~self.begins & AnySeq(1)),
            macs.strobe.eq(self.begins | (self.word != 0)),
            Assert(self.word < count),
        ]
        with m.If(macs.strobe):
            m.d.sync += self.word.eq(Mux(self.word == count - 1, 0, self.word + 1))
        self.kind, self.source = self.any(m, range(kinds), "kind"), self.any(m, 2, "source")
        m.d.comb += Assume(self.kind < kinds)

    def any(self, m: Module, shape, name: str) -> Signal:
        """Something of each event, the same for all of its words."""
        signal, register = Signal(shape, name=name), Signal(shape, name=f"{name}_kept")
        anything = AnySeq(len(signal))
        m.d.comb += signal.eq(
            anything if self.macs.geometry.words == 1 else Mux(self.begins, anything, register)
        )
        m.d.sync += register.eq(signal)
        return signal

    def send(self, m: Module, rows: Sequence[Sequence[Value]], row: Value) -> None:
        """The weights of the event, a word after another; the reader is elsewhere."""
        macs, words = self.macs, range(self.macs.geometry.words)
        word = Array(Array(words_)[self.word] for words_ in rows)[row]
        m.d.comb += [
            macs.word.bank.eq(_BANK),
            macs.word.word.eq(self.word),
            macs.word.phase.eq(Array(number % GATES for number in words)[self.word]),
            macs.word.third.eq(Array(number // GATES for number in words)[self.word]),
            macs.weights.eq(pipe(m, word, "weights", READ_LATENCY)),
        ]

    def out(self, word: int) -> Value:
        """The word of this number goes out."""
        return self.macs.strobe & (self.word == word)

    def once(self, m: Module, word: int, condition: Value, count: int, times: int = 1) -> list[Signal]:
        """Whether the word of each source has come; each comes at most once in a step, or so many times."""
        came = []
        for number in range(count):
            hit = self.out(word) & condition & (self.source == number)
            there = Signal(range(times + 1), name=f"word{word}_of{number}_came")
            with m.If(self.forget):
                m.d.sync += there.eq(0)
            with m.Elif(hit):
                m.d.sync += there.eq(there + 1)
            m.d.comb += [Assume(~(hit & (there == times))), Assert(there <= times)]
            came.append(there)
        return came

    def total(self, m: Module, condition: ValueLike, product: Value, bits: int) -> _Total:
        """The plain sum of these products. Two bits more than it needs show that it needs no more."""
        total = _Total(Signal(signed(bits + 2), name="total"), Signal(name="some"))
        with m.If(self.forget):
            m.d.sync += [total.value.eq(0), total.some.eq(0)]
        with m.Elif(condition):
            m.d.sync += [total.value.eq(total.value + product), total.some.eq(1)]
        m.d.comb += Assert(total.some | (total.value == 0))
        return total


class _Stored:
    """What the lanes hold: no sum loses a bit, and products and sums are what they are meant to be."""

    def __init__(self, m: Module, peek: Peek):
        self.macs = macs = peek.component
        self.compact = macs.compact
        shared = GATES if isinstance(macs.geometry, LayerGeometry) else 1
        count = min(shared, macs.lanes) if self.compact else macs.lanes
        self.lanes = [peek.inside(f"{'sums' if self.compact else 'lane'}{n}") for n in range(count)]
        m.d.comb += [Assert(~lane.signal(SIGNAL)) for lane in self.lanes]
        if self.compact:
            self.stores = [lane.inside("store") for lane in self.lanes]

    def product(self, m: Module, position: int, word: Value, product: Value) -> None:
        """The product of this position comes to its lane."""
        lane = position % self.macs.lanes
        part = self.lanes[lane % len(self.lanes)].component
        found = part.products[lane // len(self.lanes)] if self.compact else part.product
        meant = Signal(product.shape(), name="product")
        m.d.comb += meant.eq(product)
        late = pipe(m, meant, "product_late", PRODUCT_LATENCY)
        with m.If(pipe(m, word, "word_late", PRODUCT_LATENCY)):
            m.d.comb += Assert(found == late)

    def sum(self, m: Module, position: int, slot: int, total: _Total) -> None:
        """The sum in this slot of the position's lane is `total`."""
        lane, bits = position % self.macs.lanes, self.macs.sum_bits
        if self.compact:
            address = (_BANK << (self.macs.slots - 1).bit_length()) + slot
            number = lane // len(self.lanes)
            found = self.stores[lane % len(self.lanes)].word(m, "memory", Const(address))
            found = found[number * bits : (number + 1) * bits]
        else:
            found = self.lanes[lane].word(m, f"bank{_BANK}_part0", Const(slot, 4))
        late = pipe(m, total.value, "total_late", _WRITTEN)
        with m.If(pipe(m, total.some, "some_late", _WRITTEN)):
            m.d.comb += Assert(found.as_signed() == late)


def _free(m: Module, count: int, bits: int, name: str) -> list[Signal]:
    """So many weights of any value, always the same."""
    weights = [Signal(signed(bits), name=f"{name}_{place}") for place in range(count)]
    m.d.comb += [weight.eq(AnyConst(bits)) for weight in weights]
    return weights


def _packed(
    inputs: Sequence[Sequence[Value]],
    recurrent: Sequence[Sequence[Value]],
    geometry: RowGeometry,
    bits: int,
) -> list[list[Value]]:
    """Words of each source's row: position 3u + g is gate g of unit u."""
    units = geometry.positions // GATES
    rows = []
    for weights in (inputs, recurrent):
        for source in range(len(weights[0])):
            places = [weights[gate * units + unit][source] for unit in range(units) for gate in range(GATES)]
            rows.append(_in_words(places, geometry, bits))
    return rows


def _in_words(places: Sequence[Value], geometry: RowGeometry, bits: int) -> list[Value]:
    """A row of weights in words, lane 0 lowest; zero beyond its end."""
    codes: list[Value] = [Cat(place, place[-1].replicate(bits - len(place))) for place in places]
    codes += [Const(0, bits)] * (geometry.lanes * geometry.words - len(codes))
    return [Cat(codes[word * geometry.lanes : (word + 1) * geometry.lanes]) for word in range(geometry.words)]
