"""No word of the update's and the reset gate's memories is read where it is written.

In two halves. The component keeps its memory free of collisions if no unit comes into it again before its
result is out; a tile, whatever its update takes, keeps that promise.
"""

from typing import Any

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Module, Signal, Value

from egret_hw.memory import READ_LATENCY, Ram
from egret_hw.multiplier import MULTIPLY_LATENCY
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.reset_gate import ResetGate
from egret_hw.widths import LayerWidths

from .checker import drive
from .contracts import watched
from .peek import Peek
from .proof import Build
from .streams import image, tile
from .tiles import driven

#: Cycles from a group's sums to the cycle in which its states are asked for.
UPDATE_READ = NeuronUpdate.LATENCY - 1 - (1 + MULTIPLY_LATENCY + 1) - READ_LATENCY
GATE_READ = 2


def states_are_kept(*, units: int, streams: int, kept_promise: bool = True) -> Build:
    """Each update of a unit begins with the state that its update before has left, and no read collides.

    The environment lets no unit in whose result is not out (unless `kept_promise` is False, for the twin);
    else groups come as they please, in any order. A fixed address, any one, stands for all.
    """

    def build(m: Module) -> None:
        dut = NeuronUpdate(**_of(units=units, streams=streams))
        peek = Peek(m, "update", dut)
        drive(m, dut)
        address = dut.step.stream * dut.groups + dut.group if streams > 1 else dut.group
        m.d.comb += [Assume(dut.step.stream < streams), Assume(dut.group < dut.groups)]
        place = _place(m, dut)
        enters = dut.strobe & (address == place)
        leaves = dut.result_strobe & (dut.result_address == place)
        inside = Cat(_late(m, enters, age + 1) for age in range(NeuronUpdate.LATENCY))
        m.d.comb += Assert(leaves == inside[-1])
        if kept_promise:
            m.d.comb += Assume(~(enters & inside.any()))
        _never_collides(m, peek.part("state"), place, _late(m, enters, UPDATE_READ))

    return build


def sent_is_kept(*, units: int, streams: int, kept_promise: bool = True) -> Build:
    """The same of the reset gate's memory of what was sent, which is written with the update's results.

    No result of a unit comes while the gate works on it, from its sums to what the gate makes of them.
    """

    def build(m: Module) -> None:
        dut = ResetGate(**_of(units=units, streams=streams, reset="before"))
        peek = Peek(m, "gate", dut)
        drive(m, dut)
        address = dut.step.stream * dut.groups + dut.group if streams > 1 else dut.group
        m.d.comb += [Assume(dut.step.stream < streams), Assume(dut.group < dut.groups)]
        place = _place(m, dut)
        enters = dut.strobe & (address == place)
        inside = Cat(enters, *[_late(m, enters, age + 1) for age in range(ResetGate.LATENCY)])
        if kept_promise:
            m.d.comb += Assume(~(inside.any() & dut.sent_strobe & (dut.sent_address == place)))
        _never_collides(m, peek.part("sent"), place, _late(m, enters, GATE_READ))

    return build


def no_unit_is_there_twice(*, units: int, lanes: int, **options: Any) -> Build:
    """A tile lets no unit into its update whose result is not out, however long that takes.

    With `reset="before"` neither does the reset gate work on a unit that is in the update, nor the update
    on one that is in the gate.
    """

    def build(m: Module) -> None:
        dut = tile(lanes=lanes, units=units, **options)
        peek = driven(m, dut)
        update = dut.update
        address = update.step.stream * update.groups + update.group if dut.streams > 1 else update.group
        for place in range(update.groups * dut.streams):
            enters = update.strobe & (address == place)
            leaves = update.result_strobe & (update.result_address == place)
            inside = _alone(m, enters, leaves, f"updated{place}")
            if dut.scheduler.gate_first:
                gate = peek.part("gate")
                gated = gate.strobe & (address == place)
                done = gate.result_strobe & (gate.result.group == place)
                gating = _alone(m, gated, done, f"gated{place}")
                m.d.comb += Assert(~((gated | gating) & (enters | inside | leaves)))

    return build


def _of(*, units: int, streams: int, reset: str = "after") -> dict[str, Any]:
    """Parameters of an update or a gate, as a tile of one update lane has them."""
    layer = image(units=units, reset=reset).layers[0]
    weight_bits = max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)
    widths = LayerWidths.of(layer, weight_bits=weight_bits, compact=False)
    return {
        "layer": layer,
        "lanes": 1,
        "streams": streams,
        "widths": widths,
    }


def _place(m: Module, dut: NeuronUpdate | ResetGate) -> Value:
    """An address that is there, always the same one."""
    place = Signal(range(max(2, dut.groups * dut.streams)), name="place")
    m.d.comb += [place.eq(AnyConst(len(place))), Assume(place < dut.groups * dut.streams)]
    return place


def _alone(m: Module, enters: Value, leaves: Value, name: str) -> Signal:
    """Whether something is inside; it must have left before it enters again."""
    inside = Signal(name=name)
    m.d.sync += inside.eq(enters | (inside & ~leaves))
    m.d.comb += Assert(~(enters & inside))
    return inside


def _late(m: Module, strobe: Value, cycles: int) -> Value:
    for _ in range(cycles):
        late = Signal(name="late")
        m.d.sync += late.eq(strobe)
        strobe = late
    return strobe


def _never_collides(m: Module, part: Ram, place: Value, asked: Value) -> None:
    """When the word at `place` is asked for nobody writes there, and what comes is what was written last."""
    watch = watched(part)
    writes = part.write_enable & (part.write_address == place)
    last, told = Signal(part.shape.width, name="last_written"), Signal(part.shape.width, name="told")
    with m.If(writes):
        m.d.sync += last.eq(part.write_data)
    with m.If(asked):
        m.d.sync += told.eq(last)
    m.d.comb += [watch.address.eq(place), Assert(watch.word == last)]
    with m.If(asked):
        m.d.comb += [Assert(part.address == place), Assert(~writes)]
    with m.If(_late(m, asked, READ_LATENCY)):
        m.d.comb += Assert(part.data == told)
