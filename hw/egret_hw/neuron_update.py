"""From pre-activation sums to events: the update of P units per cycle (docs/numerics.md, section 3)."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from egru.image import Layer

from .arithmetic import half, pipe, saturate, strobe_pipe, times
from .geometry import GATES
from .half_table import HalfTable
from .memory import READ_LATENCY, Ram, Rom
from .multiplier import MULTIPLY_LATENCY, Multiplier
from .overflow import OverflowWatch
from .step import step_layout
from .stream import index_shape
from .sum_gather import GATHER_LATENCY
from .widths import CANDIDATE, CANDIDATE_INPUT, CANDIDATE_RECURRENT, LayerWidths, R, Z, rounded_biases

#: Bits of a gate's value. This format and the next ones are fixed by docs/numerics.md.
GATE_BITS = 15
_NARROW_BITS, _NARROW_FRAC = 16, 11
_CANDIDATE_BITS, _STATE_FRAC = 16, 15


def result_layout(*, units: int, lanes: int, event_bits: int) -> data.StructLayout:
    """What an update gives for one group of `lanes` units.

    Members
    -------
    group : number of the group; its units are group * lanes + 0 .. lanes - 1
    last : 1 = the step's last group
    fired : a bit for each unit
    values : payload of each unit; meaningless where it did not fire
    """
    return data.StructLayout(
        {
            "group": index_shape(-(-units // lanes)),
            "last": 1,
            "fired": lanes,
            "values": data.ArrayLayout(unsigned(event_bits), lanes),
        }
    )


class NeuronUpdate(wiring.Component):
    """Updates P units per cycle and says which of them fired.

    A pipeline without stalls: :data:`LATENCY` cycles from a group's sums to its result, one group per
    cycle. It holds the layer's biases, thresholds, tables and the private state c, which never leaves it.
    Roundings are those of docs/numerics.md, each a half added before an arithmetic shift; nothing
    overflows.

    Parameters
    ----------
    layer : the layer's integers and formats
    lanes : P
    streams : sequences that are under way at once, each with its own state
    widths : of the layer's arithmetic
    compact : a group comes in three cycles at the earliest, so that both gates share one port of a table

    Members
    -------
    ahead : In, 1 = `ahead_group` is the number of a group, `GATHER_LATENCY` cycles before the sums; only
        looked at if `compact`, and the number must then be there one cycle longer, before
    ahead_group : In
    strobe, group, last, firsts : In, the first sums, 3k + g for gate g of the group's unit k
    seconds : In, one cycle later, the second sums of its candidates
    step : In, beside the sums: :func:`step_layout`
    result_strobe, result : Out, :func:`result_layout`
    result_address : Out, where the group's states are kept
    """

    LATENCY = 2 + READ_LATENCY + MULTIPLY_LATENCY + 2 + READ_LATENCY + 1 + MULTIPLY_LATENCY + 2

    def __init__(
        self,
        *,
        layer: Layer,
        lanes: int,
        streams: int,
        widths: LayerWidths,
        compact: bool = False,
    ):
        self.compact = compact
        self.layer = layer
        self.lanes = lanes
        self.units = layer.spec.units
        self.groups = -(-self.units // lanes)
        self.streams = streams
        self.widths = widths
        group = index_shape(self.groups)
        self.result_layout = result_layout(units=self.units, lanes=lanes, event_bits=layer.spec.event_bits)
        super().__init__(
            {
                "ahead": In(1),
                "ahead_group": In(group),
                "strobe": In(1),
                "group": In(group),
                "last": In(1),
                "firsts": In(data.ArrayLayout(signed(widths.sum_bits), GATES * lanes)),
                "seconds": In(data.ArrayLayout(signed(widths.sum_bits), lanes)),
                "step": In(step_layout(streams=streams)),
                "result_strobe": Out(1),
                "result": Out(self.result_layout),
                "result_address": Out(index_shape(self.groups * streams)),
            }
        )

    @property
    def biases(self) -> "Parameters":
        """Biases with the rounding halves added, per group of units: (z, r, a, q) of each."""
        widths = self.widths
        rounded = rounded_biases(self.layer, widths.gate_shift, widths.candidate_shift)
        return Parameters(rounded.T, self.lanes, signed(widths.bias_bits))

    @property
    def thresholds(self) -> "Parameters":
        """Thresholds plus 1, per group of units."""
        above = self.layer.threshold.astype(np.int64)[:, None] + 1
        return Parameters(above, self.lanes, unsigned(_STATE_FRAC + 1))

    @property
    def subtracts_output(self) -> bool:
        """Whether a unit that fired pays its output in the next step, not its threshold in the same one."""
        return self.layer.spec.state_reset == "output"

    @property
    def gate_first(self) -> bool:
        """Whether the reset gate acts on the events, before the candidates' product."""
        return self.layer.spec.reset == "before"

    @property
    def state_layout(self) -> data.StructLayout:
        """What is kept of a unit from step to step."""
        members: dict = {"state": signed(self.widths.state_bits)}
        if self.subtracts_output:
            members["sent"] = unsigned(self.layer.spec.event_bits)
        return data.StructLayout(members)

    def elaborate(self, platform):
        m = Module()
        layer, lanes, k = self.layer, self.lanes, self.layer.spec.table_bits
        widths, overflow = self.widths, OverflowWatch()

        # Control beside the data: where a group's strobe and number are, so many cycles after its sums.
        strobes = [self.strobe]
        for age in range(self.LATENCY):
            strobes.append(strobe_pipe(m, strobes[-1], f"strobe_{age + 1}", 1))
        numbers, state_addresses = self._numbers(m, strobes)
        fresh = [self.step.fresh]
        for age in range(self.LATENCY):
            fresh.append(pipe(m, fresh[-1], f"fresh_{age + 1}"))

        biases = self._biases(m)

        # Stages, counted in cycles from the sums.
        at_index = 2
        at_gates = at_index + READ_LATENCY
        at_candidate_index = at_gates + MULTIPLY_LATENCY + 2
        at_candidate = at_candidate_index + READ_LATENCY
        at_state = at_candidate + 1 + MULTIPLY_LATENCY + 1
        at_result = at_state + 1
        if at_result != self.LATENCY:
            raise RuntimeError(f"the pipeline has {at_result} stages, not LATENCY = {self.LATENCY}")

        m.submodules.threshold = threshold_rom = self.thresholds.rom()
        thresholds = data.View(self.thresholds.layout, threshold_rom.data0)
        m.d.comb += threshold_rom.address0.eq(numbers[at_state - 2 - READ_LATENCY])
        kept = self.state_layout
        m.submodules.state = state = Ram(shape=lanes * kept.size, depth=self.groups * self.streams)
        m.d.comb += [
            state.address.eq(state_addresses[at_candidate - READ_LATENCY]),
            state.write_enable.eq(strobes[at_result]),
            state.write_address.eq(state_addresses[at_result]),
        ]
        m.d.comb += [
            self.result_strobe.eq(strobes[at_result]),
            self.result_address.eq(state_addresses[at_result]),
            self.result.group.eq(numbers[at_result]),
            self.result.last.eq(pipe(m, self.last, "last", at_result)),
        ]

        for lane in range(lanes):

            def stage(value, name: str, stages: int = 1, lane: int = lane):
                return pipe(m, value, f"lane{lane}_{name}", stages)

            z_sum, r_sum, a_sum = [self.firsts[GATES * lane + gate] for gate in range(GATES)]
            q_sum = self.seconds[lane]
            bias = [biases[lane][place] for place in range(4)]

            # The last group may be part empty.
            always = (self.groups - 1) * lanes + lane < self.units

            def real(age: int, always: bool = always) -> Value:
                return Const(1) if always else numbers[age] != self.groups - 1

            def total(sum_: Value, bias: Value, kind: str, name: str, age: int = 0, stage=stage, real=real):
                exact = sum_.shift_left(widths.common_shift) + bias
                strobe = strobes[age] & real(age)
                return stage(overflow.fit(exact, widths.total_bits(kind), strobe), name)

            # Biases with halves, then the narrowing shifts. z and r become table indices.
            z_total = total(z_sum, bias[0], Z, "z_sum")
            r_total = total(r_sum, bias[1], R, "r_sum")
            z_index = stage(saturate(z_total.shift_right(widths.gate_shift), k), "z_index")
            r_index = stage(saturate(r_total.shift_right(widths.gate_shift), k), "r_index")
            z, r, z_late = self._gates(m, lane, stage, strobes[at_index], z_index, r_index)

            if self.gate_first:
                # The candidate's index comes straight from its sum, and waits for the gates.
                wait = 1 + at_candidate_index - at_index
                a_total = total(a_sum, bias[2], CANDIDATE, "a_sum")
                g_index = stage(saturate(a_total.shift_right(widths.candidate_shift), k), "g_index", wait)
            else:
                a_total = total(a_sum, bias[2], CANDIDATE_INPUT, "a_sum")
                # Second sums are a cycle late; q is not needed before r has passed its table.
                late_bias = stage(bias[3], "q_bias_wait")
                q_total = total(q_sum, late_bias, CANDIDATE_RECURRENT, "q_sum", age=1)
                a = stage(saturate(a_total.shift_right(widths.candidate_shift), _NARROW_BITS), "a")
                q = stage(saturate(q_total.shift_right(widths.candidate_shift), _NARROW_BITS), "q")
                g_index = self._gated_index(m, lane, stage, a, q, r)
            g = self._candidate(m, lane, g_index)

            # State: g + z * (c - g), which lies between the old state and the candidate.
            old = data.View(kept, state.data.word_select(lane, kept.size))
            state_before = Mux(fresh[at_candidate], 0, old.state)
            difference = stage(state_before - g, "difference")
            m.submodules[f"keep_product{lane}"] = keep = Multiplier(
                a_bits=GATE_BITS + 1, b_bits=len(difference)
            )
            m.d.comb += [
                keep.a.eq(self._wait(m, strobes, z, f"lane{lane}_z", at_gates + z_late, at_candidate + 1)),
                keep.b.eq(difference),
            ]
            # With a bit more than the product's rounded part: added to another number with a 1 there, it
            # carries the rounding.
            moved = keep.product.shift_right(GATE_BITS - 1)
            base = stage(g, "g_wait")
            if self.subtracts_output:  # what the unit sent in the step before
                sent = Mux(fresh[at_candidate], 0, old.sent)
                base = base - stage(sent, "sent").shift_left(layer.spec.payload_shift)
            base = stage(base, "base", MULTIPLY_LATENCY - 1)
            potential = Signal(signed(widths.state_bits), name=f"lane{lane}_potential", reset_less=True)
            # What is above the threshold, less 1: negative unless the unit fires, for equality does not. It
            # is worked out beside the potential and not after it.
            above = Signal(signed(widths.above_bits), name=f"lane{lane}_above", reset_less=True)
            before = at_state - 1
            seen = strobes[before] & real(before)
            lowered = stage(base - thresholds[lane][0], "base_above")
            m.d.sync += [
                potential.eq(overflow.fit(_plus(stage(base, "base_late"), moved), widths.state_bits, seen)),
                above.eq(overflow.fit(_plus(lowered, moved), widths.above_bits, seen)),
            ]

            fired = stage((above >= 0) & real(at_state), "fired")
            value = stage(self._payload(potential), "payload")
            after = stage(potential, "kept")
            if not self.subtracts_output:
                after = Mux(stage(above < 0, "below"), after, stage(above + 1, "lowered"))
            new = data.View(kept, state.write_data.word_select(lane, kept.size))
            written = strobes[at_result] & real(at_result)
            m.d.comb += [
                self.result.fired[lane].eq(fired),
                self.result["values"][lane].eq(value),
                new.state.eq(overflow.fit(after, widths.state_bits, written)),
            ]
            if self.subtracts_output:
                m.d.comb += new.sent.eq(Mux(fired, value, 0))
        overflow.drive(m)
        return m

    def _numbers(self, m: Module, strobes: list[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
        """Number of a group, and where its states are kept, so many cycles after its sums."""
        if self.compact and self.streams == 1:
            # Groups come in order: where a number is wanted it is counted, which takes less than to send it.
            counted = _Counted(m, strobes, self.groups)
            return counted, counted
        numbers: list[Value] = [self.group]
        # States of one stream behind those of another: at no time do two steps use one address.
        addresses = [times(self.step.stream, self.groups) + self.group if self.streams > 1 else self.group]
        for age in range(self.LATENCY):
            numbers.append(pipe(m, numbers[-1], f"group_{age + 1}"))
            addresses.append(pipe(m, addresses[-1], f"state_address_{age + 1}"))
        return numbers, addresses

    def _wait(
        self, m: Module, strobes: list[Value], value: Value, name: str, since: int, until: int
    ) -> Value:
        """A group's `value`, kept from so many cycles after its sums until so many."""
        if not self.compact:
            return pipe(m, value, f"{name}_wait", until - since)
        # The next group comes three cycles later at the earliest, so a register may hold it for three.
        age = since
        while age < until:
            register = Signal(value.shape(), name=f"{name}_held{age}", reset_less=True)
            with m.If(strobes[age]):
                m.d.sync += register.eq(value)
            value, age = register, age + 3
        return value

    def _biases(self, m: Module) -> Value:
        """Biases of a group, beside its sums."""
        parameters = self.biases
        group = pipe(m, self.ahead_group, "bias_group", GATHER_LATENCY - READ_LATENCY)
        if not self.compact:
            m.submodules.bias = rom = parameters.rom()
            m.d.comb += rom.address0.eq(group)
            return data.View(parameters.layout, rom.data0)
        # Two memories, each read in two cycles: the first number waits for the second one.
        second = strobe_pipe(m, self.ahead, "bias_second", GATHER_LATENCY - READ_LATENCY)
        width = parameters.layout.size // 4
        parts = []
        for number, name in enumerate(("bias_zr", "bias_aq")):
            contents = [
                word >> (width * place) & ((1 << width) - 1)
                for word in parameters.contents
                for place in (2 * number, 2 * number + 1)
            ]
            m.submodules[name] = rom = Rom(shape=unsigned(width), contents=contents)
            m.d.comb += rom.address0.eq(Cat(second, group))
            parts += [pipe(m, rom.data0, f"{name}_first"), rom.data0]
        return data.View(parameters.layout, Cat(parts))

    def _gates(self, m: Module, lane: int, stage, strobe: Value, z_index: Value, r_index: Value):
        """Both gates, and by how many cycles z comes later than r."""
        contents, k = self.layer.sigmoid.tolist(), self.layer.spec.table_bits
        if self.compact:  # z has time: its index takes the port a cycle later
            m.submodules[f"sigmoid{lane}"] = table = HalfTable(
                contents=contents, shape=unsigned(GATE_BITS), mirror=1 << GATE_BITS
            )
            m.d.comb += table.index.eq(Mux(strobe, r_index, stage(z_index, "z_index_late")))
            return table.value, table.value, 1
        # Both gates share one table through its two ports.
        m.submodules[f"sigmoid{lane}"] = sigmoid = Rom(shape=unsigned(GATE_BITS), contents=contents, ports=2)
        m.d.comb += [
            sigmoid.address0.eq(table_entry(z_index, k)),
            sigmoid.address1.eq(table_entry(r_index, k)),
        ]
        return sigmoid.data0, sigmoid.data1, 0

    def _candidate(self, m: Module, lane: int, index: Value) -> Value:
        """The candidate that the table holds."""
        contents, shape = self.layer.tanh.tolist(), signed(_CANDIDATE_BITS)
        if self.compact:
            m.submodules[f"tanh{lane}"] = table = HalfTable(contents=contents, shape=shape, mirror=0)
            m.d.comb += table.index.eq(index)
            return table.value
        m.submodules[f"tanh{lane}"] = tanh = Rom(shape=shape, contents=contents)
        m.d.comb += tanh.address0.eq(table_entry(index, self.layer.spec.table_bits))
        return tanh.data0

    def _gated_index(self, m: Module, lane: int, stage, a: Value, q: Value, r: Value) -> Value:
        """Table index of the candidate a + r * q: at fraction 26, rounded once."""
        m.submodules[f"reset_product{lane}"] = reset = Multiplier(a_bits=GATE_BITS + 1, b_bits=_NARROW_BITS)
        m.d.comb += [reset.a.eq(r), reset.b.eq(stage(q, "q_wait", READ_LATENCY - 1))]
        shift = _NARROW_FRAC + GATE_BITS - (self.layer.spec.table_bits - 3)
        # What lies below a's last bit is never carried, nor are halves below it.
        rounded = stage(stage(a, "a_wait") + (half(shift) >> GATE_BITS), "a_rounded")
        late = stage(rounded, "a_late", READ_LATENCY + MULTIPLY_LATENCY - 2)
        candidate = stage(reset.product.shift_right(GATE_BITS) + late, "candidate")
        index = saturate(candidate.shift_right(shift - GATE_BITS), self.layer.spec.table_bits)
        return stage(index, "g_index")

    def _payload(self, potential):
        """Potential of a unit that fired (so it is not negative), rounded to the event's bits.

        The largest value stands for everything above it.
        """
        bits = self.layer.spec.event_bits
        shift = _STATE_FRAC - bits
        rounded = (potential + half(shift)).shift_right(shift)
        return rounded[:bits] | rounded[bits:].any().replicate(bits)


class _Counted(Sequence):
    """Numbers of groups by their age, each counted by the strobes of that age."""

    def __init__(self, m: Module, strobes: list[Value], groups: int):
        self.m, self.strobes, self.groups = m, strobes, groups
        self.counters: dict[int, Signal] = {}

    def __len__(self) -> int:
        return len(self.strobes)

    def __getitem__(self, age):
        if age not in self.counters:
            counter = Signal(index_shape(self.groups), name=f"counted_{age}")
            with self.m.If(self.strobes[age]):
                self.m.d.sync += counter.eq(Mux(counter == self.groups - 1, 0, counter + 1))
            self.counters[age] = counter
        return self.counters[age]


class Parameters:
    """Numbers per unit, laid out as one memory word per group of units."""

    def __init__(self, numbers: np.ndarray, lanes: int, shape):
        """`numbers` is units x numbers per unit."""
        units, each = numbers.shape
        padded = np.zeros((-(-units // lanes) * lanes, each), dtype=np.int64)
        padded[:units] = numbers
        self.layout = data.ArrayLayout(data.ArrayLayout(shape, each), lanes)
        mask = (1 << shape.width) - 1
        self.contents = [
            sum((int(number) & mask) << (shape.width * place) for place, number in enumerate(group.flat))
            for group in padded.reshape(-1, lanes, each)
        ]

    def rom(self) -> Rom:
        """The memory that holds them."""
        return Rom(shape=unsigned(self.layout.size), contents=self.contents)


def table_entry(index, bits: int):
    """Entry number of a signed table index: tables begin with the most negative one."""
    return (index ^ (1 << (bits - 1)))[:bits]


def _plus(base, moved):
    """`base + half up(moved / 2)`, in one addition."""
    return (Cat(1, base).as_signed() + moved) >> 1
