"""Layers and readouts so small that a solver can look at all of them, and widths too small for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from egret_hw.widths import (
    CANDIDATE,
    CANDIDATE_INPUT,
    CANDIDATE_RECURRENT,
    Bounds,
    LayerWidths,
    ReadoutWidths,
)
from egru.formats import IntFormat
from egru.image import Layer, LayerSpec, Readout, ReadoutSpec
from egru.tables import sigmoid_table, tanh_table

Widths = Callable[..., LayerWidths]
"""Works the widths of a layer out, as :meth:`~egret_hw.widths.LayerWidths.of` does."""

ReadoutWidthsOf = Callable[[Readout, IntFormat], ReadoutWidths]
"""Works the widths of a readout out, as :meth:`~egret_hw.widths.ReadoutWidths.of` does."""

#: The format of all events here, and of inputs where nothing else is said.
EVENTS = IntFormat(2, 2, False)


def small_layer(
    *,
    inputs: Sequence[Sequence[int]],
    recurrent: Sequence[Sequence[int]],
    bias: Sequence[Sequence[int]] | None = None,
    input_format: IntFormat = EVENTS,
    reset: str = "after",
    state_reset: str = "threshold",
    **formats: Any,
) -> Layer:
    """A layer with these rows of weights (gate * N + unit), of few bits."""
    units = len(recurrent[0])
    given = {
        "input_weight_bits": 2,
        "input_weight_frac": 1,
        "recurrent_weight_bits": 2,
        "recurrent_weight_frac": 1,
        "event_bits": 2,
        "table_bits": 4,
    } | formats
    spec = LayerSpec(inputs=len(inputs[0]), units=units, reset=reset, state_reset=state_reset, **given)
    return Layer(
        spec=spec,
        input_format=input_format,
        input_weight=np.array(inputs),
        recurrent_weight=np.array(recurrent),
        bias=np.array(bias if bias is not None else [[0] * units] * 4),
        threshold=np.full(units, spec.threshold_range[0]),
        sigmoid=sigmoid_table(spec.table_bits),
        tanh=tanh_table(spec.table_bits),
    )


def weight_bits_of(layer: Layer) -> int:
    """Bits of a weight in the layer's memory."""
    return max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)


def shorter(bounds: Bounds) -> Bounds:
    """Bounds that need a bit less."""
    limit = 1 << (bounds.bits - 2)
    return Bounds(-limit, limit - 1)


def short_sums(layer: Layer, **options: Any) -> LayerWidths:
    """Accumulators a bit too narrow."""
    widths = LayerWidths.of(layer, **options)
    return replace(widths, sums={kind: shorter(bounds) for kind, bounds in widths.sums.items()})


def candidate_apart(layer: Layer, **options: Any) -> LayerWidths:
    """The candidate's inputs and gated events bounded apart, as if they did not meet in one sum."""
    widths = LayerWidths.of(layer, **options)
    apart = LayerWidths.of(replace(layer, spec=replace(layer.spec, reset="after")), **options)
    parts = CANDIDATE_INPUT, CANDIDATE_RECURRENT
    return replace(
        widths,
        sums={**widths.sums, CANDIDATE: Bounds.over(apart.sums[part] for part in parts)},
        totals={**widths.totals, CANDIDATE: Bounds.over(apart.totals[part] for part in parts)},
    )


def hull_layer(*, units: int = 2, bias: tuple[int, int], **options: Any) -> Layer:
    """A layer whose first unit has the largest sums and biases there are, and all others the least."""
    high, low = (1, bias[1]), (-2, bias[0])
    each = [high] + [low] * (units - 1)
    return small_layer(
        inputs=[[weight] for weight, _ in each] * 3,
        recurrent=[[weight] * units for weight, _ in each] * 3,
        bias=[[number for _, number in each]] * 4,
        **options,
    )


def short_totals(layer: Layer, **options: Any) -> LayerWidths:
    """Totals a bit too narrow."""
    widths = LayerWidths.of(layer, **options)
    return replace(widths, totals={kind: shorter(bounds) for kind, bounds in widths.totals.items()})


def short(name: str) -> Widths:
    """Widths of which the one of this name is a bit too narrow."""

    def of(layer: Layer, **options: Any) -> LayerWidths:
        widths = LayerWidths.of(layer, **options)
        changed: dict[str, Any] = {name: shorter(getattr(widths, name))}
        return replace(widths, **changed)

    return of


def hull_readout(mode: str) -> Readout:
    """A readout whose first class has the largest weights and bias there are, and its second the least."""
    spec = ReadoutSpec(
        classes=2, mode=mode, weight_bits=2, weight_frac=1, max_steps=3 if mode == "mean" else 1
    )
    return Readout(spec=spec, weight=np.array([[1], [-2]]), bias=np.array([20, -20]))


def short_readout(name: str) -> ReadoutWidthsOf:
    """Widths of which the one of this name is a bit too narrow."""

    def of(readout: Readout, events: IntFormat) -> ReadoutWidths:
        widths = ReadoutWidths.of(readout, events)
        changed: dict[str, Any] = {name: shorter(getattr(widths, name))}
        return replace(widths, **changed)

    return of
