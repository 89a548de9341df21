"""The update and the reset gate compute what section 3 of the page says, and no number in them overflows.

Sums, biases and thresholds are free within their bounds, tables and states within the page's ranges, and
groups come as they please. The states are the induction's: whatever state within the range of the page is
read, the one that is written lies within it. That an update finds what the one before left is proved in
:mod:`~egret_sim.formal.collisions`. Products may be anything that a product of such numbers may be
(:mod:`~egret_sim.formal.width_products`).
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from egret_hw.arithmetic import pipe
from egret_hw.memory import READ_LATENCY
from egret_hw.multiplier import MULTIPLY_LATENCY, Multiplier
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.overflow import SIGNAL
from egret_hw.reset_gate import ResetGate
from egret_hw.sum_gather import GATHER_LATENCY
from egret_hw.widths import LayerWidths
from egru.image import Layer

from .checker import arbitrary, drive
from .page import Extremes, bias_bounds, bits_for, hull, own_sum_bounds, rshr, sat, within
from .peek import Peek
from .proof import Build
from .width_layers import Widths, weight_bits_of

GATE_BITS = 15
STATE_MAX = 32767
#: Cycles from a group's sums.
_INDEX = 2
_GATES = _INDEX + READ_LATENCY
_CANDIDATE_INDEX = _GATES + MULTIPLY_LATENCY + 2
_CANDIDATE = _CANDIDATE_INDEX + READ_LATENCY
_KEEP = _CANDIDATE + 1
_KEPT = _KEEP + MULTIPLY_LATENCY
_RESULT = _KEPT + 2
#: A threshold is read for the sum that is two cycles before the result's.
_THRESHOLD = _KEPT - 1

#: Numbers of a unit that must fit behind its gates: the potential, what is above the threshold, the state.
_STATE_NUMBERS = 3

Late = Callable[[Value, int], Value]


def layer_indices(
    layer: Layer, *, lanes: int = 1, compact: bool = False, widths: Widths = LayerWidths.of
) -> Build:
    """Sums become the table indices of the page; biases and states are read where those of the group are."""
    spec = layer.spec
    units, k = spec.units, spec.table_bits

    def build(m: Module) -> None:
        given = widths(layer, weight_bits=weight_bits_of(layer), compact=compact)
        dut = NeuronUpdate(layer=layer, lanes=lanes, streams=1, widths=given, compact=compact)
        peek = Peek(m, "update", dut)
        drive(m, dut)
        late = _late(m)
        first, _ = _overflows(peek, lanes)
        m.d.comb += [Assert(~lost) for lost in first]
        _groups(m, dut, late)
        if compact:
            _one_after_another(m, dut, peek, late)
        m.d.comb += [
            _if(
                late(dut.strobe, _CANDIDATE_INDEX),
                peek.part("state").address == late(dut.group, _CANDIDATE_INDEX),
            ),
            *[
                Assert(peek.signal(f"{name}_{_CANDIDATE}") == late(value, _CANDIDATE))
                for name, value in (("strobe", dut.strobe), ("fresh", dut.step.fresh), ("last", dut.last))
            ],
        ]
        if not compact:
            m.d.comb += Assert(peek.signal(f"group_{_CANDIDATE}") == late(dut.group, _CANDIDATE))
        bias = _compact_biases(m, dut, peek, late) if compact else _biases(m, dut, peek, late)
        common, shift = min(layer.input_shift, layer.recurrent_shift), layer.acc_frac - (k - 4)

        for lane in range(lanes):
            real = dut.strobe & (dut.group * lanes + lane < units)
            sums = [dut.firsts[3 * lane + gate] for gate in range(3)]
            _assume_bounds(m, layer, real, sums)
            totals = [(sum_ << common) + number for sum_, number in zip(sums, bias[lane], strict=False)]
            z_index, r_index = (_pinned(m, sat(rshr(total, shift), k)) for total in totals[:2])

            sigmoid = peek.part(f"sigmoid{lane}")
            if compact:  # z comes a cycle later, through the same port
                z, r, z_at = sigmoid.value, sigmoid.value, _GATES + 1
                z_asked, r_asked = sigmoid.index, sigmoid.index
            else:
                z, r, z_at = sigmoid.data0, sigmoid.data1, _GATES
                z_asked, r_asked = _signed_index(sigmoid.address0), _signed_index(sigmoid.address1)
            z_index_at = z_at - READ_LATENCY
            keep = peek.part(f"keep_product{lane}")
            m.d.comb += [
                _if(late(real, _INDEX), r_asked == late(r_index, _INDEX)),
                _if(late(real, z_index_at), z_asked == late(z_index, z_index_at)),
                _if(late(real, _KEEP), keep.a == late(z, _KEEP - z_at)),
            ]

            tanh = peek.part(f"tanh{lane}")
            asked = tanh.index if compact else _signed_index(tanh.address0)
            if spec.reset == "after":
                second, narrowing = dut.seconds[lane], layer.acc_frac - 11
                _assume_range(m, late(real, 1), second, _kind(layer, 3))
                a = _pinned(m, sat(rshr(totals[2], narrowing), 16))
                q = _pinned(m, sat(rshr((second << common) + late(bias[lane][3], 1), narrowing), 16))
                reset = peek.part(f"reset_product{lane}")
                at = _GATES + MULTIPLY_LATENCY
                gated = (late(a, at) << GATE_BITS) + reset.product
                index = late(_pinned(m, sat(rshr(gated, 26 - (k - 3)), k)), _CANDIDATE_INDEX - at)
                m.d.comb += _if(late(real, _GATES), (reset.a == r) & (reset.b == late(q, _GATES - 1)))
            else:
                index = late(_pinned(m, sat(rshr(totals[2], layer.acc_frac - (k - 3)), k)), _CANDIDATE_INDEX)
            m.d.comb += _if(late(real, _CANDIDATE_INDEX), asked == index)

    return build


def layer_states(
    layer: Layer, *, lanes: int = 1, compact: bool = False, widths: Widths = LayerWidths.of
) -> Build:
    """Gates, candidates and old states become the results and the new states of the page."""
    spec = layer.spec
    units = spec.units
    pays_output = spec.state_reset == "output"

    def build(m: Module) -> None:
        given = widths(layer, weight_bits=weight_bits_of(layer), compact=compact)
        dut = NeuronUpdate(layer=layer, lanes=lanes, streams=1, widths=given, compact=compact)
        peek = Peek(m, "update", dut)
        drive(m, dut)
        late = _late(m)
        _, second = _overflows(peek, lanes)
        m.d.comb += [Assert(~lost) for lost in second]

        # What comes from the stages before, as `layer_indices` shows it.
        strobe, fresh, last = (peek.signal(f"{name}_{_CANDIDATE}") for name in ("strobe", "fresh", "last"))
        if compact:
            counted = peek.signal(f"counted_{_CANDIDATE_INDEX}")
            group = late(counted, _CANDIDATE - _CANDIDATE_INDEX)
            for age in (_THRESHOLD - READ_LATENCY, _RESULT):
                under_way = Cat(
                    peek.signal(f"strobe_{n}") for n in range(_CANDIDATE_INDEX + 1, age + 1)
                ).xor()
                m.d.comb += Assert(peek.signal(f"counted_{age}") == counted ^ under_way)
        else:
            group = peek.signal(f"group_{_CANDIDATE}")
        m.d.comb += Assume(group < dut.groups)
        state, threshold = peek.part("state"), peek.part("threshold")
        asks, result = _THRESHOLD - READ_LATENCY - _CANDIDATE, _RESULT - _CANDIDATE
        done = late(strobe, result)
        m.d.comb += [
            Assert(dut.result_strobe == done),
            Assert(state.write_enable == done),
            _if(late(strobe, asks), threshold.address0 == late(group, asks)),
            _if(done, state.write_address == late(group, result)),
            _if(done, dut.result.group == late(group, result)),
            _if(done, dut.result.last == late(last, result)),
        ]
        kept = dut.state_layout
        thresholds = data.View(dut.thresholds.layout, threshold.data0)

        for lane in range(lanes):
            real = strobe & (group * lanes + lane < units)
            tanh = peek.part(f"tanh{lane}")
            g = tanh.value if compact else tanh.data0
            old = data.View(kept, state.data.word_select(lane, kept.size))
            m.d.comb += [Assume(within(g, -STATE_MAX, STATE_MAX)), Assume(_in_range(layer, old))]
            c = Mux(fresh, 0, old.state)
            keep = peek.part(f"keep_product{lane}")
            m.d.comb += _if(late(real, 1), keep.b == late(_pinned(m, c - g), 1))
            product = late(_product(m, late, keep), _RESULT - _KEPT)
            potential = late(g, result) + rshr(product, 15)
            if pays_output:
                sent = _pinned(m, Mux(fresh, 0, old.sent))
                potential = potential - (late(sent, result) << (15 - spec.event_bits))
            theta = arbitrary(m, GATE_BITS, "theta")
            m.d.comb += [
                Assume(theta >= 1 << (15 - spec.event_bits)),
                Assume(thresholds[lane][0] == theta + 1),
            ]
            theta = late(theta, _RESULT - _THRESHOLD)
            fired = potential > theta
            largest = (1 << spec.event_bits) - 1
            rounded = rshr(potential, 15 - spec.event_bits)
            y = Mux(fired, Mux(rounded > largest, largest, rounded), 0)
            left = potential if pays_output else Mux(fired, potential - theta, potential)
            new = data.View(kept, state.write_data.word_select(lane, kept.size))
            there = late(real, result)
            m.d.comb += [
                _if(done, dut.result.fired[lane] == (there & fired)),
                _if(there & fired, (dut.result["values"][lane] == y) & (y != 0)),
                _if(there, (new.state == left) & _in_range(layer, new)),
            ]
            if pays_output:
                m.d.comb += _if(there, new.sent == y)

    return build


def layer_gates(layer: Layer, *, lanes: int = 1, widths: Widths = LayerWidths.of) -> Build:
    """Each gated event, and each address of a memory, are those of the page."""
    spec = layer.spec
    units, k = spec.units, spec.table_bits

    def build(m: Module) -> None:
        given = widths(layer, weight_bits=weight_bits_of(layer), compact=False)
        dut = ResetGate(layer=layer, lanes=lanes, streams=1, widths=given)
        peek = Peek(m, "gate", dut)
        drive(m, dut)
        late = _late(m)
        done = ResetGate.LATENCY
        m.d.comb += [Assert(~peek.signal(SIGNAL)), Assert(dut.result_strobe == late(dut.strobe, done))]
        _groups(m, dut, late)
        sent = peek.part("sent")
        m.d.comb += [
            _if(late(dut.strobe, _INDEX), sent.address == late(dut.group, _INDEX)),
            Assert(sent.write_enable == dut.sent_strobe),
            _if(dut.sent_strobe, sent.write_address == dut.sent_address),
            _if(dut.result_strobe, dut.result.group == late(dut.group, done)),
            _if(dut.result_strobe, dut.result.last == late(dut.last, done)),
        ]
        bias = _biases(m, dut, peek, late, kinds=(1,))
        fresh = late(dut.step.fresh, _GATES)

        for lane in range(lanes):
            real = dut.strobe & (dut.group * lanes + lane < units)
            _assume_bounds(m, layer, real, [dut.firsts[3 * lane + gate] for gate in range(3)])
            common = min(layer.input_shift, layer.recurrent_shift)
            total = (dut.firsts[3 * lane + 1] << common) + bias[lane][0]
            index = sat(rshr(total, layer.acc_frac - (k - 4)), k)
            table, multiplier = peek.part(f"sigmoid{lane}"), peek.part(f"product{lane}")
            bits = spec.event_bits
            y = Mux(fresh, 0, sent.data.word_select(lane, bits))
            payload = Mux(dut.sent.fired[lane], dut.sent["values"][lane], 0)
            w = late(rshr(_product(m, late, multiplier), 15), done - _GATES - MULTIPLY_LATENCY)
            y_late = late(y, done - _GATES)
            there = late(real, done)
            m.d.comb += [
                _if(late(real, _INDEX), table.address0 == late(index, _INDEX) + (1 << (k - 1))),
                _if(late(real, _GATES), (multiplier.a == table.data0) & (multiplier.b == y)),
                _if(dut.sent_strobe, sent.write_data.word_select(lane, bits) == payload),
                _if(there, dut.result.fired[lane] == (w != 0)),
                _if(there, (dut.result["values"][lane] == w) & (w <= y_late)),
            ]

    return build


def _late(m: Module) -> Late:
    """A value, so many cycles later."""
    known: dict[int, tuple[Value, list[Value]]] = {}

    def late(value: Value, cycles: int) -> Value:
        if not isinstance(value, Value):
            value = Value.cast(value)
        _, ages = known.setdefault(id(value), (value, [value]))
        while len(ages) <= cycles:
            ages.append(pipe(m, ages[-1], "late"))
        return ages[cycles]

    return late


def _overflows(peek: Peek, lanes: int) -> tuple[list[Value], list[Value]]:
    """Where numbers of an update lose a bit: totals of sums, and what comes of states. None is left out."""
    lost = peek.alternatives(SIGNAL)
    each = len(lost) // lanes
    sums = [one for number, one in enumerate(lost) if number % each < each - _STATE_NUMBERS]
    states = [one for number, one in enumerate(lost) if number % each >= each - _STATE_NUMBERS]
    return sums, states


def _signed_index(entry: Value) -> Value:
    """The index of a table's entry: tables begin with the most negative one."""
    return (entry ^ (1 << (len(entry) - 1))).as_signed()


def _pinned(m: Module, value: Value) -> Signal:
    """The value as a signal."""
    signal = Signal(value.shape(), name="pinned")
    m.d.comb += signal.eq(value)
    return signal


def _if(condition: Value, claim: Value) -> Assert:
    """The claim holds where the condition does."""
    return Assert(~condition | claim)


def _kind(layer: Layer, place: int) -> Extremes:
    """Bounds of the sums in this place of any unit: z, r, candidate, its recurrent part."""
    return hull(unit[place] for unit in own_sum_bounds(layer))


def _assume_range(m: Module, there: Value, value: Value, bounds: Extremes) -> None:
    m.d.comb += Assume(~there | within(value, *bounds))


def _assume_bounds(m: Module, layer: Layer, there: Value, sums: Sequence[Value]) -> None:
    """First sums lie within the bounds of their kinds."""
    for place, sum_ in enumerate(sums):
        _assume_range(m, there, sum_, _kind(layer, place))


def _groups(m: Module, dut: NeuronUpdate | ResetGate, late: Late) -> None:
    """Groups that are there, each with its number ahead of its sums."""
    m.d.comb += [
        Assume(dut.group < dut.groups),
        Assume(~dut.strobe | (dut.group == late(dut.ahead_group, GATHER_LATENCY))),
    ]


def _one_after_another(m: Module, dut: NeuronUpdate, peek: Peek, late: Late) -> None:
    """In the compact form groups come in order, one in three cycles; so the update counts them."""
    count = Signal.like(dut.group, name="next_group")
    with m.If(dut.strobe):
        m.d.sync += count.eq(Mux(count == dut.groups - 1, 0, count + 1))
    early = late(dut.ahead_group, GATHER_LATENCY + 1)
    m.d.comb += [
        Assume(~dut.strobe | (dut.group == count)),
        Assume(~(dut.strobe & (late(dut.strobe, 1) | late(dut.strobe, 2)))),
        Assume(~dut.strobe | (late(dut.ahead, GATHER_LATENCY) & (dut.group == early))),
        Assume(late(dut.ahead, GATHER_LATENCY) == dut.strobe),
        Assert(count < dut.groups),
    ]
    if dut.groups != 2:
        raise ValueError(f"groups must be 2 for this invariant, not {dut.groups}")
    under_way = Cat(late(dut.strobe, n) for n in range(1, _CANDIDATE_INDEX + 1)).xor()
    m.d.comb += Assert(peek.signal(f"counted_{_CANDIDATE_INDEX}") == count ^ under_way)


def _numbers(m: Module, layer: Layer, found: Value, kind: int) -> Value:
    """A bias of any size, of which the memory's word `found` is the sum with the half that rounds."""
    k, before = layer.spec.table_bits, layer.spec.reset == "before"
    if kind < 2:
        shift = layer.acc_frac - (k - 4)
    else:
        shift = layer.acc_frac - (k - 3 if before else 11)
    number = arbitrary(m, signed(bits_for(bias_bounds(layer)) + 1), f"bias{kind}")
    rounded = number + (1 << (shift - 1) if shift else 0)
    m.d.comb += Assume(found.as_unsigned() == rounded[: len(found)])
    return number


def _biases(
    m: Module, dut: NeuronUpdate | ResetGate, peek: Peek, late: Late, kinds: Sequence[int] | None = None
) -> list[list[Value]]:
    """Free biases of each lane beside the sums, and the claim that they are the group's."""
    layer = dut.layer
    kinds = kinds or ((0, 1, 2, 3) if layer.spec.reset == "after" else (0, 1, 2))
    rom = peek.part("bias")
    found = data.View(dut.biases.layout, rom.data0)
    m.d.comb += _if(dut.strobe, late(rom.address0, READ_LATENCY) == dut.group)
    biases = []
    for lane in range(dut.lanes):
        numbers = [_numbers(m, layer, found[lane][place], kind) for place, kind in enumerate(kinds)]
        for number, kind in zip(numbers, kinds, strict=True):
            _assume_range(m, dut.strobe, number, bias_bounds(layer)[kind])
        biases.append(numbers)
    return biases


def _compact_biases(m: Module, dut: NeuronUpdate, peek: Peek, late: Late) -> list[list[Value]]:
    """The same of the compact form, which reads two memories in two cycles."""
    numbers = []
    for place, name in ((0, "bias_zr"), (2, "bias_aq")):
        rom = peek.part(name)
        number = _numbers(m, dut.layer, rom.data0, place)
        numbers += [late(number, 1), number]
        m.d.comb += [
            _if(dut.strobe, late(rom.address0, READ_LATENCY + 1) == Cat(Const(0, 1), dut.group)),
            _if(dut.strobe, late(rom.address0, READ_LATENCY) == Cat(Const(1, 1), dut.group)),
        ]
    for number, bounds in zip(numbers, bias_bounds(dut.layer), strict=True):
        _assume_range(m, dut.strobe, number, bounds)
    return [numbers]


def _product(m: Module, late: Late, multiplier: Multiplier) -> Value:
    """A product of a gate and of any number: it lies between zero and that number times the largest gate."""
    gate, number = late(multiplier.a, MULTIPLY_LATENCY), late(multiplier.b, MULTIPLY_LATENCY)
    product = multiplier.product
    most = (number << GATE_BITS) - number
    low, high = Mux(number < 0, most, 0), Mux(number < 0, 0, most)
    m.d.comb += Assume((gate < 0) | within(product, low, high))
    return product


def _in_range(layer: Layer, kept: data.View) -> Value:
    """Whether a state lies in the page's range; that of a unit that sent something is positive: it fired."""
    if layer.spec.state_reset == "threshold":
        return within(kept.state, -STATE_MAX, STATE_MAX)
    low = -2 * STATE_MAX - 1 + (1 << (15 - layer.spec.event_bits))
    return within(kept.state, low, STATE_MAX) & ((kept.sent == 0) | (kept.state > 0))
