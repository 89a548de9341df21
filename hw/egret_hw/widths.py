"""Every width of the arithmetic, in one place for a layer and for a readout, from the numbers of an image.

Nothing wraps: each width below is the smallest that holds the exact extremes of what docs/numerics.md says.
A sum's extremes are sums of extremes, since every source adds at most one product to it, of a weight whose
sign is given: `sum over j of max(0, W[j] * lo, W[j] * hi)`. They bound each partial sum as well, so the order
of the events is free. docs/widths-of-sums.md lists what is here, with its formulas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from egru.formats import NARROW_FRAC, STATE_MAX, IntFormat
from egru.image import Layer, Readout

from .arithmetic import half
from .multiplier import PairMultiplier

#: Kinds of sums and totals of a layer. With reset "before" a candidate has one sum, where inputs and gated
#: events meet; with "after" it has two, since r gates the recurrent one.
GATE = "gate"
Z, R = "z", "r"
CANDIDATE = "candidate"
CANDIDATE_INPUT, CANDIDATE_RECURRENT = "candidate's input part", "candidate's recurrent part"


@dataclass(frozen=True)
class Bounds:
    """The least and the largest value that an integer takes."""

    low: int
    high: int

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray) -> "Bounds":
        """Over all elements of two arrays."""
        return cls(int(low.min()), int(high.max()))

    @classmethod
    def over(cls, parts: Iterable["Bounds"]) -> "Bounds":
        """Of a number that is any of `parts`."""
        parts = list(parts)
        return cls(min(part.low for part in parts), max(part.high for part in parts))

    @property
    def bits(self) -> int:
        """Bits of the narrowest two's complement number that holds all of it."""
        return max((end if end >= 0 else ~end).bit_length() for end in (self.low, self.high)) + 1

    def fits(self, bits: int) -> bool:
        """Whether a two's complement number of `bits` bits holds all of it."""
        return self.bits <= bits

    def __str__(self) -> str:
        return f"{self.low} .. {self.high}"


def row_bounds(weights: np.ndarray, events: IntFormat) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sum of weight times event, for each row of `weights` (rows x sources)."""
    ends = [weights.astype(np.int64) * end for end in (events.lo, events.hi)]
    return np.minimum(*ends).clip(max=0).sum(axis=1), np.maximum(*ends).clip(min=0).sum(axis=1)


def event_shape_bits(events: IntFormat) -> int:
    """Bits of a signed number that holds an event of this format."""
    return events.bits if events.signed else events.bits + 1


@dataclass(frozen=True)
class LayerWidths:
    """Widths, shifts and bounds of a layer's arithmetic.

    Input and recurrent events have different fractions. The update wants both kinds of sums at the layer's
    fraction; so much of the two shifts as they have in common is made there, once per unit. The rest is made
    on an event's value, once per event; where weights are so narrow that two lanes share a multiplier, it
    is made on the products instead, for a wider value would not fit. Pairs are (input, recurrent).

    Attributes
    ----------
    value_shifts, product_shifts : of an event's value, of a product; at most one of the four is not 0
    common_shift : of a sum
    gate_shift, candidate_shift : from a total of z or r to its index; from a candidate's total to what is
        narrowed to 16 bits (reset "after") or to its index ("before")
    value_bits : signed width of an event value, shifted by `value_shifts`
    sums : of each kind of sum in an accumulator, and of each partial sum
    biases : of all biases, each with the half that rounds
    totals : of each kind of total: sum, bias and half, before the shift that narrows it
    state : of c, and of the potential c~
    above : of what is above the threshold, less 1: negative unless the unit fires
    """

    value_shifts: tuple[int, int]
    product_shifts: tuple[int, int]
    common_shift: int
    gate_shift: int
    candidate_shift: int
    value_bits: int
    sums: Mapping[str, Bounds]
    biases: Bounds
    totals: Mapping[str, Bounds]
    state: Bounds
    above: Bounds

    @classmethod
    def of(cls, layer: Layer, *, weight_bits: int, compact: bool = False) -> "LayerWidths":
        """Work them out from the actual weights, which the memory holds in `weight_bits`."""
        spec, units = layer.spec, layer.spec.units
        common = min(layer.input_shift, layer.recurrent_shift)
        shifts = layer.input_shift - common, layer.recurrent_shift - common
        events = layer.input_format, layer.event_format
        value_bits = max(event_shape_bits(event) for event in events)
        if PairMultiplier.shares(weight_bits=weight_bits, value_bits=value_bits, compact=compact):
            value_shifts, product_shifts = (0, 0), shifts
        else:
            value_shifts, product_shifts = shifts, (0, 0)
            value_bits = max(
                event_shape_bits(event) + shift for event, shift in zip(events, shifts, strict=True)
            )

        gate_shift = layer.acc_frac - (spec.table_bits - 4)
        before = spec.reset == "before"
        candidate_shift = layer.acc_frac - (spec.table_bits - 3 if before else NARROW_FRAC)
        bias = rounded_biases(layer, gate_shift, candidate_shift)

        inputs = _Rows.of(layer.input_weight, layer.input_format) << shifts[0]
        recurrent = _Rows.of(layer.recurrent_weight, layer.event_format) << shifts[1]
        z, r, candidates = slice(units), slice(units, 2 * units), slice(2 * units, None)
        both = inputs + recurrent
        rows = {Z: (both[z], bias[0]), R: (both[r], bias[1])}
        if before:
            rows[CANDIDATE] = both[candidates], bias[2]
        else:
            rows[CANDIDATE_INPUT] = inputs[candidates], bias[2]
            rows[CANDIDATE_RECURRENT] = recurrent[candidates], bias[3]
        totals = {kind: ((sums << common) + numbers).bounds for kind, (sums, numbers) in rows.items()}
        sums = {GATE: Bounds.over([rows[Z][0].bounds, rows[R][0].bounds])}
        sums |= {kind: row.bounds for kind, (row, _) in rows.items() if kind not in (Z, R)}

        state = Bounds(*spec.state_range)
        # c~ - (theta + 1), for the largest threshold and for the least one.
        above = Bounds(state.low - STATE_MAX - 1, state.high - spec.threshold_range[0] - 1)
        return cls(
            value_shifts,
            product_shifts,
            common,
            gate_shift,
            candidate_shift,
            value_bits,
            sums,
            Bounds.of(bias, bias),
            totals,
            state,
            above,
        )

    @property
    def sum_bits(self) -> int:
        """Signed width of an accumulator, whatever kind of sum is in it."""
        return max(bounds.bits for bounds in self.sums.values())

    @property
    def bias_bits(self) -> int:
        """Signed width of a bias with its half."""
        return self.biases.bits

    def total_bits(self, kind: str) -> int:
        """Signed width of a kind of total."""
        return self.totals[kind].bits

    @property
    def state_bits(self) -> int:
        """Signed width of a state, and of a potential."""
        return self.state.bits

    @property
    def above_bits(self) -> int:
        """Signed width of what is above the threshold."""
        return self.above.bits


@dataclass(frozen=True)
class ReadoutWidths:
    """Widths and bounds of a readout's arithmetic.

    Attributes
    ----------
    sum : of a sum in an accumulator: of one step, or in mode "mean" of `max_steps` steps
    bias : of a bias
    steps : steps that a logit sums up, at most
    logit : of a logit: sum and bias, as often as there are steps
    """

    sum: Bounds
    bias: Bounds
    steps: int
    logit: Bounds

    @classmethod
    def of(cls, readout: Readout, events: IntFormat) -> "ReadoutWidths":
        """Work them out from the actual weights, which get events of this format."""
        steps = readout.spec.max_steps if readout.spec.mode == "mean" else 1
        rows, bias = _Rows.of(readout.weight, events), readout.bias.astype(np.int64)
        # A logit grows with the steps or falls with them: its extremes are those of one step or of all.
        one = rows + bias
        logit = Bounds.over([one.bounds, one.times(steps).bounds])
        return cls(rows.times(steps).bounds, Bounds.of(bias, bias), steps, logit)

    @property
    def sum_bits(self) -> int:
        """Signed width of an accumulator."""
        return self.sum.bits

    @property
    def bias_bits(self) -> int:
        """Signed width of a bias."""
        return self.bias.bits

    @property
    def logit_bits(self) -> int:
        """Signed width of a logit."""
        return self.logit.bits


def rounded_biases(layer: Layer, gate_shift: int, candidate_shift: int) -> np.ndarray:
    """Biases as the update adds them, with the halves that round: 4 x N, for z, r and the candidate's parts.

    With reset "before" both parts of a candidate are one sum: its bias is in the third row, the last is zero.
    """
    bias = layer.bias.astype(np.int64)
    gate_half, candidate_half = half(gate_shift), half(candidate_shift)
    if layer.spec.reset == "before":
        candidate = [bias[2] + bias[3] + candidate_half, np.zeros(layer.spec.units, np.int64)]
    else:
        candidate = [bias[2] + candidate_half, bias[3] + candidate_half]
    return np.stack([bias[0] + gate_half, bias[1] + gate_half, *candidate])


@dataclass(frozen=True)
class _Rows:
    """Bounds of each row."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, events: IntFormat) -> "_Rows":
        return cls(*row_bounds(weights, events))

    @property
    def bounds(self) -> Bounds:
        return Bounds.of(self.low, self.high)

    def times(self, factor: int) -> "_Rows":
        return _Rows(self.low * factor, self.high * factor)

    def __lshift__(self, shift: int) -> "_Rows":
        return self.times(1 << shift)

    def __add__(self, other: "_Rows | np.ndarray") -> "_Rows":
        if isinstance(other, _Rows):
            return _Rows(self.low + other.low, self.high + other.high)
        return _Rows(self.low + other, self.high + other)

    def __getitem__(self, rows: slice) -> "_Rows":
        return _Rows(self.low[rows], self.high[rows])
