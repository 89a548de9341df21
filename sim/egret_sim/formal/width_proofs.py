"""Proofs of the arithmetic and of its widths: what each says, and which width its twin has too narrow."""

from typing import Any

from egret_hw.multiplier import Multiplier, PairMultiplier
from egret_hw.serial_gather import SerialGather
from egret_hw.sum_gather import SumGather
from egru.formats import IntFormat
from egru.image import Layer

from .contracts import ANY_STEP, CONTRACT_FIFO, FREE_ROM
from .gathering import sums_are_handed_over
from .planting import Edit
from .proof import Bounded, Induction, Proof, Twin
from .width_layers import (
    EVENTS,
    Widths,
    candidate_apart,
    hull_layer,
    hull_readout,
    short,
    short_readout,
    short_sums,
    short_totals,
    small_layer,
)
from .width_logits import logits
from .width_products import pairs_of_products, products
from .width_sums import layer_sums, readout_sums
from .width_update import layer_gates, layer_indices, layer_states

_SUMS = "no sum overflows, and each accumulator holds the sum of the page, for all weights that fit its bits"
_INDICES = "no total overflows, and each table index is the page's, up to the gates and the candidate"
_STATES = "no potential or state overflows; results and states are the page's, whatever state was before"
_LOGITS = "no logit overflows, and each is its class's sum plus its bias as often as there are steps"

_HANDED = "groups come in order, each with its units' sums, from where the weights are; zero without an event"
_COUNTS = "counts = [early_step.{0}, early_step.{0}, early_step.{1}]"

_SHORT = "accumulators are a bit too narrow"
_APART = "a candidate's inputs and gated events are bounded apart, though they meet in one sum"

#: Rows of weights of which each sum needs its bits: gates with both kinds of events, or the candidate alone.
_GATES: dict[str, Any] = {"inputs": [[1], [0], [1]], "recurrent": [[1], [0], [1]]}
_CANDIDATE: dict[str, Any] = {"inputs": [[0], [0], [1]], "recurrent": [[0], [0], [1]]}
_SHIFTED_EVENTS: dict[str, Any] = {"recurrent_weight_frac": 0}
_SHIFTED_INPUTS: dict[str, Any] = {"input_weight_frac": 0, "input_format": IntFormat(2, 2, True)}
#: Weights so wide that no two share a multiplier: values are shifted, and not products.
_WIDE: dict[str, Any] = {
    "inputs": [[40], [0], [40]],
    "recurrent": [[1], [0], [1]],
    "recurrent_weight_frac": 0,
    "input_weight_bits": 8,
}

#: A layer with a shift of all sums; and one with none, in which a candidate's parts are rounded.
_COARSE: dict[str, Any] = {"bias": (-20000, 20000), "recurrent_weight_frac": 0}
_FINE: dict[str, Any] = {
    "bias": (-300000, 300000),
    "input_format": IntFormat(2, 4, False),
    "input_weight_frac": 9,
    "recurrent_weight_frac": 10,
}


def _sums(
    name: str,
    parameters: str,
    layer: Layer,
    *,
    depth: int = 10,
    wrong: Widths = short_sums,
    twin: str = _SHORT,
    **options: Any,
) -> Proof:
    return Proof(
        name=f"widths/sums-{name}",
        says=_SUMS,
        parameters=f"1 input, 1 unit, 2-bit weights and events, {parameters}",
        method=Induction(depth),
        build=layer_sums(layer, **options),
        twin=Twin(twin, build=layer_sums(layer, widths=wrong, **options), depth=14),
        incremental=False,
    )


def _readout_sums(mode: str, parameters: str) -> Proof:
    readout = hull_readout(mode)
    return Proof(
        name=f"widths/sums-{mode}",
        says=f"{_SUMS}, in all steps that they sum up",
        parameters=f"readout of 2 classes in 1 lane, 1 unit, {parameters}",
        method=Induction(12),
        build=readout_sums(readout, EVENTS, lanes=1),
        twin=Twin(
            _SHORT, build=readout_sums(readout, EVENTS, lanes=1, widths=short_readout("sum")), depth=16
        ),
        incremental=False,
    )


def _indices(
    name: str, parameters: str, layer: Layer, *, wrong: Widths, twin: str, compact: bool = False
) -> Proof:
    return Proof(
        name=f"widths/indices-{name}",
        says=_INDICES,
        parameters=f"2 units, {parameters}; any sums and biases within their bounds, any tables",
        method=Induction(14),
        build=layer_indices(layer, compact=compact),
        twin=Twin(twin, build=layer_indices(layer, compact=compact, widths=wrong)),
        stand_ins=ANY_STEP,
        incremental=False,
    )


def _states(
    name: str, parameters: str, layer: Layer, *, wrong: str, twin: str, quick: bool = False, **options: Any
) -> Proof:
    return Proof(
        name=f"widths/states-{name}",
        says=_STATES,
        parameters=f"{parameters}; any tables, thresholds and states before",
        method=Induction(8),
        build=layer_states(layer, **options),
        twin=Twin(twin, build=layer_states(layer, widths=short(wrong), **options), depth=20),
        stand_ins=ANY_STEP,
        quick=quick,
    )


def _logits(
    name: str,
    parameters: str,
    mode: str,
    *,
    depth: int = 10,
    wrong: str = "logit",
    quick: bool = False,
    **options: Any,
) -> Proof:
    readout = hull_readout(mode)
    return Proof(
        name=f"widths/logits-{name}",
        says=_LOGITS,
        parameters=f"2 classes, {parameters}; any sums and biases within their bounds",
        method=Bounded(depth),
        build=logits(readout, EVENTS, **options),
        twin=Twin(
            f"each {wrong} is a bit too narrow",
            build=logits(readout, EVENTS, widths=short_readout(wrong), **options),
        ),
        stand_ins={**FREE_ROM, **CONTRACT_FIFO},
        quick=quick,
    )


def _gather(units: int, lanes: int, depth: int, more: str, *, update_lanes: int = 1) -> Proof:
    compact = "compact" in more
    counts = "counted = (step.{0}, step.{0}, step.{1})" if compact else _COUNTS
    old, new = (counts.format("has_any", kind) for kind in ("has_input", "has_any"))
    return Proof(
        name=f"gather/{'compact-' if compact else ''}{units}-{lanes}",
        says=_HANDED,
        parameters=f"{units} unit(s), {lanes} lane(s), {more}; any sums in the lanes",
        method=Bounded(depth),
        build=sums_are_handed_over(units=units, lanes=lanes, update_lanes=update_lanes, compact=compact),
        twin=Twin(
            "a candidate without an input counts what was there before",
            (Edit(SerialGather if compact else SumGather, old, new),),
        ),
        quick=(units, lanes, compact) == (2, 3, False),
    )


_GATED = hull_layer(**_COARSE, units=3, reset="before")
_ABOVE = "what is above the threshold is a bit too narrow"

WIDTH_PROOFS: tuple[Proof, ...] = (
    _sums("after", "3 lanes, recurrent products shifted", small_layer(**_GATES, **_SHIFTED_EVENTS), lanes=3),
    _sums(
        "before",
        "3 lanes, reset before",
        small_layer(**_CANDIDATE, **_SHIFTED_EVENTS, reset="before"),
        lanes=3,
        wrong=candidate_apart,
        twin=_APART,
    ),
    _sums(
        "signed",
        "3 lanes, signed inputs, input products shifted",
        small_layer(**_GATES, **_SHIFTED_INPUTS),
        lanes=3,
    ),
    _sums(
        "values",
        "but input weights of 8 bits, 3 lanes, recurrent values shifted",
        small_layer(**_WIDE),
        lanes=3,
    ),
    _sums(
        "one-lane",
        "1 lane: rows of 3 words",
        small_layer(**_GATES, **_SHIFTED_EVENTS),
        lanes=1,
        depth=12,
    ),
    _sums(
        "compact",
        "2 lanes, compact: sums in block memory, rows of 2 words",
        small_layer(**_GATES, **_SHIFTED_EVENTS),
        lanes=2,
        compact=True,
        depth=12,
    ),
    _readout_sums("mean", "3 steps"),
    _readout_sums("last", "1 step"),
    _gather(2, 1, 20, "a unit's sums in four reads"),
    _gather(2, 3, 18, "in two reads"),
    _gather(3, 4, 20, "in two reads, over the ends of words"),
    _gather(3, 6, 18, "second sums with the next unit's first"),
    _gather(4, 4, 18, "second sums beside the first"),
    _gather(3, 12, 16, "2 units at a time", update_lanes=2),
    _gather(2, 2, 24, "compact"),
    _indices(
        "after",
        "reset after",
        hull_layer(**_FINE),
        wrong=short_totals,
        twin="totals are a bit too narrow",
    ),
    _indices(
        "before",
        "reset before",
        hull_layer(**_COARSE, reset="before"),
        wrong=candidate_apart,
        twin=_APART,
    ),
    _indices(
        "compact",
        "reset after, compact",
        hull_layer(**_FINE),
        wrong=short("biases"),
        twin="biases are a bit too narrow",
        compact=True,
    ),
    _states(
        "threshold",
        "2 units, state_reset threshold",
        hull_layer(**_FINE),
        wrong="state",
        twin="a state is a bit too narrow",
        quick=True,
    ),
    _states(
        "output",
        "3 units in 2 lanes, state_reset output",
        hull_layer(**_COARSE, units=3, state_reset="output"),
        wrong="state",
        twin="a state is a bit too narrow",
        lanes=2,
    ),
    _states(
        "above",
        "2 units, reset before, state_reset output",
        hull_layer(**_FINE, reset="before", state_reset="output"),
        wrong="above",
        twin=_ABOVE,
    ),
    _states(
        "compact",
        "2 units, state_reset threshold, compact",
        hull_layer(**_FINE),
        wrong="above",
        twin=_ABOVE,
        compact=True,
    ),
    Proof(
        name="widths/gate",
        says="no total overflows; each gated event is the page's, and never more than the event",
        parameters="3 units in 2 lanes; any sums and biases within their bounds, any table and events",
        method=Induction(11),
        build=layer_gates(_GATED, lanes=2),
        twin=Twin("totals are a bit too narrow", build=layer_gates(_GATED, lanes=2, widths=short_totals)),
        stand_ins=ANY_STEP,
    ),
    _logits("mean", "1 lane, mode mean, up to 3 steps", "mean", lanes=1, quick=True),
    _logits("last", "1 lane, mode last", "last", lanes=1),
    _logits("every", "2 lanes, mode every", "every", lanes=2, wrong="bias"),
    _logits("compact", "1 lane, compact, mode mean, up to 3 steps", "mean", lanes=1, compact=True, depth=18),
    Proof(
        name="widths/products",
        says="the product of two numbers, and the bounds of a gate's product",
        parameters="numbers of 6 and 8 bits, the portable form",
        method=Induction(5),
        build=products(a_bits=6, b_bits=8),
        twin=Twin(
            "an operand is taken without its sign",
            (Edit(Multiplier, 'pipe(m, a, "a_in") * pipe', 'pipe(m, a[:], "a_in") * pipe'),),
        ),
    ),
    Proof(
        name="widths/pairs",
        says="the products of two weights with one value, from one multiplier",
        parameters="weights of 3 bits, values of 4, the portable form",
        method=Induction(5),
        build=pairs_of_products(weight_bits=3, value_bits=4),
        twin=Twin(
            "what a negative lower product takes is not given back",
            (Edit(PairMultiplier, "(upper + (lower < 0))[:shift]", "upper[:shift]"),),
        ),
    ),
)
