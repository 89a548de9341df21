"""Random valid networks and inputs, for tests and fuzzing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from egru.formats import BIAS_BITS, EVENT_BITS_RANGE, FRAC_RANGE, WEIGHT_BITS_RANGE, IntFormat
from egru.image import MODES, InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.integer import Trace
from egru.tables import sigmoid_table, tanh_table

_BIAS = IntFormat(BIAS_BITS, 0, True)


def random_image(
    rng: np.random.Generator,
    *,
    inputs: int | None = None,
    units: Sequence[int] | None = None,
    classes: int | None = None,
    mode: str | None = None,
    max_steps: int = 4096,
    input_bits: int | None = None,
    input_frac: int | None = None,
    input_signed: bool | None = None,
    input_weight_bits: int | None = None,
    recurrent_weight_bits: int | None = None,
    readout_weight_bits: int | None = None,
    weight_bits: int | None = None,
    any_frac: bool = False,
    event_bits: int | None = None,
    table_bits: int | None = None,
    threshold: tuple[float, float] = (0.0, 0.5),
    activity: float | None = None,
    reset: str = "after",
    state_reset: str = "threshold",
    extreme: bool = False,
    random_tables: bool = False,
    name: str = "random",
) -> NetworkImage:
    """Make a random valid network. What is not given is drawn at random; formats are drawn per layer.

    Parameters
    ----------
    rng
        The only source of randomness.
    inputs, units, classes, mode, max_steps
        Shape: network inputs, units of each layer, classes, readout mode, longest sequence in mode ``mean``.
    input_bits, input_frac, input_signed
        Format of the network input.
    input_weight_bits, recurrent_weight_bits, readout_weight_bits
        Bits of a kind of weight, 2..8; ``weight_bits`` sets those of the three that are not given.
    any_frac
        Draw fractions of the weights and the input anywhere in 0..12, instead of where values are
        about 1, and make some biases large: sums that saturate are common then.
    event_bits, table_bits
        Payload bits and table index width of every layer.
    threshold
        Range of the thresholds as real numbers; the valid range cuts it. (1.0, 1.0) silences every unit.
    activity
        If given, this share of the units of every layer, chosen at random, fires in every step whatever
        comes in, and the others never do: 0.0 is silence, 1.0 the heaviest load there is. With
        state_reset="output", where an event costs its unit the next step's potential, it is in every other
        step, the first included. Exact unless ``random_tables``.
    reset, state_reset
        Variant of every layer.
    extreme
        Draw every weight from the two ends of its range.
    random_tables
        Fill the tables with random valid numbers instead of sigmoid and tanh.
    """

    def pick(value, low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True)) if value is None else value

    def pick_weight(bits) -> IntFormat:
        bits = pick(weight_bits if bits is None else bits, *WEIGHT_BITS_RANGE)
        frac = pick(None, *FRAC_RANGE) if any_frac else bits - 1 + pick(None, -1, 1)
        return IntFormat(bits, frac, True)

    def draw(fmt: IntFormat, shape: tuple[int, int]) -> np.ndarray:
        if extreme:
            return rng.choice([fmt.lo, fmt.hi], shape)
        return rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)

    size = pick(inputs, 1, 8)
    if units is None:
        units = [pick(None, 1, 12) for _ in range(pick(None, 1, 3))]
    signed = bool(rng.integers(2)) if input_signed is None else input_signed
    bits = pick(input_bits, 2 if signed else 1, 8)
    if input_frac is None:
        input_frac = pick(None, *FRAC_RANGE) if any_frac else max(0, bits - pick(None, 1, 3))
    source = InputSpec(size=size, bits=bits, frac=input_frac, signed=signed)

    layers = []
    arriving = source.format
    for count in units:
        weight, recurrent = pick_weight(input_weight_bits), pick_weight(recurrent_weight_bits)
        spec = LayerSpec(
            inputs=size,
            units=count,
            reset=reset,
            state_reset=state_reset,
            input_weight_bits=weight.bits,
            input_weight_frac=weight.frac,
            recurrent_weight_bits=recurrent.bits,
            recurrent_weight_frac=recurrent.frac,
            event_bits=pick(event_bits, *EVENT_BITS_RANGE),
            table_bits=pick(table_bits, 4, 12),
        )
        layer = Layer(
            spec=spec,
            input_format=arriving,
            input_weight=draw(weight, (3 * count, size)),
            recurrent_weight=draw(recurrent, (3 * count, count)),
            bias=_biases(rng, (4, count), spec.acc_frac(arriving), any_frac),
            threshold=np.clip(
                IntFormat(16, 15, False).quantise(rng.uniform(*threshold, count)), *spec.threshold_range
            ),
            sigmoid=_table(rng, 0, spec) if random_tables else sigmoid_table(spec.table_bits),
            tanh=_table(rng, -32767, spec) if random_tables else tanh_table(spec.table_bits),
        )
        if activity is not None:
            layer = _with_activity(rng, layer, activity)
        layers.append(layer)
        size, arriving = count, layer.event_format

    mode = MODES[rng.integers(len(MODES))] if mode is None else mode
    fmt = pick_weight(readout_weight_bits)
    readout_spec = ReadoutSpec(
        classes=pick(classes, 1, 6),
        mode=mode,
        weight_bits=fmt.bits,
        weight_frac=fmt.frac,
        max_steps=max_steps if mode == "mean" else 1,
    )
    bias = _biases(rng, (readout_spec.classes,), arriving.frac + fmt.frac, any_frac)
    readout = Readout(spec=readout_spec, weight=draw(fmt, (readout_spec.classes, size)), bias=bias)
    return NetworkImage(name=name, input=source, layers=tuple(layers), readout=readout, info={})


def _biases(rng: np.random.Generator, shape: tuple[int, ...], frac: int, wide: bool) -> np.ndarray:
    """Biases of about 1; if ``wide``, a third is of about 16 instead, where tables and sums saturate."""
    scale = np.where(rng.random(shape) < 1 / 3, 16.0, 1.0) if wide else 1.0
    return IntFormat(BIAS_BITS, frac, True).quantise(rng.normal(0.0, 1.0, shape) * scale)


def _table(rng: np.random.Generator, low: int, spec: LayerSpec) -> np.ndarray:
    """Contents from all of the range, a fifth of them its ends: a state can then reach its own."""
    size = 1 << spec.table_bits
    values, ends = rng.integers(low, 32767, size, endpoint=True), rng.choice([low, 32767], size)
    return np.where(rng.random(size) < 0.2, ends, values)


def _with_activity(rng: np.random.Generator, layer: Layer, activity: float) -> Layer:
    """Replace biases and thresholds: some units always fire, the others never do.

    A unit that is to fire has z = 0.00034, r anything, and a candidate near 1: its sums are held beyond the
    ends of the tables by biases larger than any sum of products, so c~ is near 1 in every step. With
    state_reset="output" it is so in every other step: between them the largest payload is subtracted, and
    what is left is less than a payload's step, so below any threshold.
    """
    spec, count = layer.spec, layer.spec.units
    on = np.zeros(count, bool)
    on[rng.permutation(count)[: round(activity * count)]] = True

    # Where products could outweigh a 32-bit bias, zero weights (always valid) make room.
    values = max(-layer.input_format.lo, layer.input_format.hi), layer.event_format.hi
    weights = [layer.input_weight.astype(np.int64), layer.recurrent_weight.astype(np.int64)]
    shifts = layer.input_shift, layer.recurrent_shift
    room = _BIAS.hi - (17 << layer.acc_frac)
    bounds = []
    for weight, value, shift in zip(weights, values, shifts, strict=True):
        bound = np.abs(weight).sum(axis=1) * value << shift
        weight[bound > room // 2] = 0
        bounds.append(np.abs(weight).sum(axis=1) * value << shift)
    total = bounds[0] + bounds[1]
    far = 17 << layer.acc_frac
    bias = layer.bias.astype(np.int64)
    bias[0, on] = -(far + total[:count])[on]
    bias[2, on] = (far + total[2 * count :])[on]
    bias[3, on] = (far + total[2 * count :])[on]
    threshold = layer.threshold.astype(np.int64)
    threshold[on] = np.minimum(threshold[on], max(16384, spec.threshold_range[0]))
    threshold[~on] = 32767
    return Layer(
        spec=spec,
        input_format=layer.input_format,
        input_weight=weights[0],
        recurrent_weight=weights[1],
        bias=np.clip(bias, _BIAS.lo, _BIAS.hi),
        threshold=threshold,
        sigmoid=layer.sigmoid,
        tanh=layer.tanh,
    )


def random_input(
    rng: np.random.Generator, image: NetworkImage, steps: int, density: float = 0.5, batch: int | None = None
) -> np.ndarray:
    """Draw input integers for an image, T x I (or T x B x I); a share ``density`` of them is nonzero.

    Nonzero values are drawn from all of the format, its ends more often than others.
    """
    fmt = image.input.format
    shape = (steps, image.input.size) if batch is None else (steps, batch, image.input.size)
    values = rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)
    ends = rng.random(shape)
    values = np.where(ends < 0.05, fmt.lo, np.where(ends > 0.95, fmt.hi, values))
    values = np.where(values == 0, fmt.hi, values)
    return np.where(rng.random(shape) < density, values, 0)


def first_difference(expected: Trace, found: Trace) -> str | None:
    """Name the first place where two traces differ, in the order of the steps; None if they are the same.

    Arrays may be anything that numpy turns into arrays. Traces of different shapes, or without a single step,
    never count as the same. Gated events are compared if both traces have them.
    """
    if len(expected.events) != len(found.events) or len(expected.states) != len(found.states):
        return f"layers: expected {len(expected.events)}, found {len(found.events)}"
    kinds = ["events", "states"]
    if expected.gated is not None and found.gated is not None:
        have, got = ([w is not None for w in gated] for gated in (expected.gated, found.gated))
        if have != got:
            return f"gated events: expected of layers {np.flatnonzero(have)}, found {np.flatnonzero(got)}"
        kinds.insert(0, "gated")
    places: list[tuple[str, np.ndarray, np.ndarray]] = []
    for k in range(len(expected.events)):
        for kind in kinds:
            a, b = getattr(expected, kind)[k], getattr(found, kind)[k]
            if a is not None:
                places.append((f"{kind} of layer {k}", np.asarray(a), np.asarray(b)))
    places.append(("logits", np.asarray(expected.logits), np.asarray(found.logits)))
    first = None
    for name, a, b in places:
        if a.shape != b.shape:
            return f"{name}: expected shape {a.shape}, found {b.shape}"
        if a.size == 0:
            return f"{name}: nothing to compare"
        different = np.argwhere(a != b)
        if len(different) and (name != "logits" or first is None):
            index = tuple(int(i) for i in different[0])
            text = f"{name} at {list(index)}: expected {a[index]}, found {b[index]}"
            if first is None or index[0] < first[0]:
                first = (index[0], text)
    return None if first is None else first[1]
