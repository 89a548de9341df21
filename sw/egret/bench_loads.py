"""Loads for the bench: random patterns, a network that repeats its input as events, and a peer's law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egret_hw.cycle_model import Activity
from egru.image import InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.tables import sigmoid_table, tanh_table

#: Formats of an echo network.
_WEIGHT_BITS, _WEIGHT_FRAC = 8, 4
_TABLE_BITS, _EVENT_BITS = 10, 8


def random_patterns(
    rng: np.random.Generator, *, inputs: int, units: int, share: float, steps: int, sequences: int
) -> list[Activity]:
    """Activity of one layer; in each step every input and every unit is active with the same chance."""
    found = []
    for _ in range(sequences):
        x = rng.random((steps, inputs)) < share
        fired = rng.random((steps, units)) < share
        found.append(Activity(x.sum(axis=1).tolist(), [[np.flatnonzero(step).tolist() for step in fired]]))
    return found


def echo_image(units: int, *, inputs: int | None = None, classes: int = 10) -> NetworkImage:
    """A network of one layer in which a unit fires exactly in the steps in which its input is 1.

    Unit u listens to input u modulo `inputs`; there are as many inputs as units unless said otherwise. So
    the pattern of its events is whatever its input is. z is near 0, so a unit forgets at once; its
    candidate is near 1 with its input and near -1 without. Recurrent weights are 0 and cost what others do.
    """
    inputs = units if inputs is None else inputs
    source = InputSpec(size=inputs, bits=1, frac=0, signed=False)
    spec = LayerSpec(
        inputs=inputs,
        units=units,
        reset="after",
        state_reset="threshold",
        input_weight_bits=_WEIGHT_BITS,
        input_weight_frac=_WEIGHT_FRAC,
        recurrent_weight_bits=_WEIGHT_BITS,
        recurrent_weight_frac=_WEIGHT_FRAC,
        event_bits=_EVENT_BITS,
        table_bits=_TABLE_BITS,
    )
    one = 1 << spec.acc_frac(source.format)
    weight = np.zeros((3 * units, inputs), np.int64)
    weight[2 * units + np.arange(units), np.arange(units) % inputs] = 7 << _WEIGHT_FRAC
    bias = np.zeros((4, units), np.int64)
    bias[0], bias[2] = -16 * one, -3.5 * one
    layer = Layer(
        spec=spec,
        input_format=source.format,
        input_weight=weight,
        recurrent_weight=np.zeros((3 * units, units), np.int64),
        bias=bias,
        threshold=np.full(units, 1 << 14),
        sigmoid=sigmoid_table(_TABLE_BITS),
        tanh=tanh_table(_TABLE_BITS),
    )
    readout = Readout(
        spec=ReadoutSpec(classes=classes, mode="mean", weight_bits=8, weight_frac=7, max_steps=4096),
        weight=np.ones((classes, units), np.int64),
        bias=np.zeros(classes, np.int64),
    )
    return NetworkImage(
        name=f"echo-{inputs}-{units}", input=source, layers=(layer,), readout=readout, info={}
    )


def echo_input(
    rng: np.random.Generator, *, inputs: int, share: float, steps: int, sequences: int
) -> list[np.ndarray]:
    """Random input for an echo network."""
    return [(rng.random((steps, inputs)) < share).astype(np.int64) for _ in range(sequences)]


def edgedrnn_cycles(active: Sequence[bool] | np.ndarray, *, units: int, elements: int) -> int:
    """Cycles that EdgeDRNN takes for a step of one layer, by the law measured on its RTL.

    Its `elements` multipliers spend 3H/P cycles on each nonzero element of the input and the state, and none
    before a scan, which sees one element per cycle, has come to it. 5H/P + 11 cycles of activation follow,
    which nothing overlaps. A silent step takes I + H + 5H/P + 16 cycles.

    Parameters
    ----------
    active
        Which of the I + H elements are nonzero, in the order of the scan.
    """
    places = np.flatnonzero(active)
    if not len(places):
        return len(active) + -(-5 * units // elements) + 16
    row, done = -(-3 * units // elements), 0
    for place in places.tolist():
        done = max(done, place) + row
    return done + -(-5 * units // elements) + 11
