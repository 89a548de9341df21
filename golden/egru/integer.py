"""The integer golden model: what the hardware must compute (docs/numerics.md, sections 3 and 5).

Written to be read beside that page. All quantities are int64 arrays; numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.formats import (
    NARROW_BITS,
    NARROW_FRAC,
    STATE_FRAC,
    as_array,
    as_integers,
    round_shift,
    saturate_signed,
)
from egru.image import Layer, NetworkImage
from egru.untrusted import brief

State = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Trace:
    """What a network did. B is there if the input had it; steps beyond a sequence's length are all zero.

    Attributes
    ----------
    events
        Per layer the payloads y, T x [B x] N; 0 is silent.
    states
        Per layer the states c after the reset, T x [B x] N.
    logits
        Integer logits: [B x] C in the modes ``mean`` (a sum over the steps) and ``last``, T x [B x] C in
        mode ``every``.
    gated
        Per layer with reset="before" the gated events w of each step, T x [B x] N, and None for one with
        "after"; None altogether in a trace from a source that does not show them.
    """

    events: list[np.ndarray]
    states: list[np.ndarray]
    logits: np.ndarray
    gated: list[np.ndarray | None] | None = None

    def last(self) -> State:
        """Return the state after the last step, from which the next window of the same sequences goes on.

        All of them must have had steps to the end of ``x``.
        """
        return [(c[-1], y[-1]) for c, y in zip(self.states, self.events, strict=True)]


def decide(logits: np.ndarray) -> np.ndarray:
    """Return the lowest index of a largest logit, over the last axis."""
    return np.argmax(logits, axis=-1)


def _product(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Compute ``values @ weight.T`` exactly, by floating point because numpy has no fast integer product.

    A sum has at most 65535 terms (egru.formats.SIZE_MAX) of at most 255 * 128 in magnitude: it stays below
    2^31, far inside the 2^53 up to which float64 holds every integer, in whatever order it is added up.
    """
    return (values.astype(np.float64) @ weight.T).astype(np.int64)


class IntegerNetwork:
    """A network image, ready to run.

    Parameters
    ----------
    image
        The network.
    """

    def __init__(self, image: NetworkImage) -> None:
        if not isinstance(image, NetworkImage):
            raise TypeError(f"image must be a NetworkImage, not {brief(image)}")
        self.image = image

    def run(self, x, lengths=None, state: State | None = None) -> Trace:
        """Run sequences, whole ones from the initial state c = 0, y = 0, or windows of one from ``state``.

        Parameters
        ----------
        x
            Integers of the image's input format (``image.input.format.quantise`` makes them from real
            values): T x I, or T x B x I.
        lengths
            Steps of each of the B sequences, 1..T; all T if not given. What ``x`` holds beyond a length has
            no effect.
        state
            Per layer (c, y), each B x N, as `Trace.last` returned them for the window before (N for x of
            T x I). In mode ``mean`` the logits are those of this window alone.

        Raises
        ------
        EgretError
            If ``x`` is not integers, has a wrong shape, no steps, values outside the input format, or, in
            mode ``mean``, more than ``max_steps`` steps; or if ``lengths`` or ``state`` does not fit ``x``
            and the network.
        """
        x, lengths, single = self._checked(x, lengths)
        state = None if state is None else self._checked_state(state, len(lengths), single)
        steps = x.shape[0]
        alive = np.arange(steps)[:, None] < lengths  # T x B
        events, states, gated = [], [], []
        arriving = np.where(alive[:, :, None], x, 0)
        for k, layer in enumerate(self.image.layers):
            results = _run_layer(layer, arriving, None if state is None else state[k])
            for values in results:
                values *= alive[:, :, None]
            arriving, after, gated_events = results
            events.append(arriving)
            states.append(after)
            gated.append(gated_events if layer.spec.reset == "before" else None)
        logits = self._read_out(arriving, alive, lengths)
        if single:
            events = [array[:, 0] for array in events]
            states = [array[:, 0] for array in states]
            gated = [None if array is None else array[:, 0] for array in gated]
            logits = logits[..., 0, :]
        return Trace(events, states, logits, gated)

    def _checked(self, x, lengths) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return x as T x B x I, its lengths, and whether it was T x I."""
        x = as_integers("x", x, ": image.input.format.quantise makes them")
        size = self.image.input.size
        if x.ndim not in (2, 3) or x.shape[-1] != size:
            raise EgretError(f"x must have shape T x {size} or T x B x {size}, not {x.shape}")
        single = x.ndim == 2
        if single:
            if lengths is not None:
                raise EgretError("lengths need x of shape T x B x I; for one sequence cut x instead")
            x = x[:, None]
        steps, batch = x.shape[:2]
        if steps == 0 or batch == 0:
            raise EgretError(f"x must have at least one step and one sequence, not shape {x.shape}")
        lengths = np.full(batch, steps) if lengths is None else as_array("lengths", lengths)
        if lengths.dtype.kind not in "iu" or lengths.shape != (batch,):
            raise EgretError(
                f"lengths must be {batch} integers, not {lengths.dtype} of shape {lengths.shape}"
            )
        if lengths.min() < 1 or lengths.max() > steps:
            raise EgretError(f"lengths must be within 1..{steps}, not {lengths.min()}..{lengths.max()}")
        _check_steps("a sequence", int(lengths.max()), self.image)
        _check_values("x", x, self.image)
        return x.astype(np.int64), lengths.astype(np.int64), single

    def _checked_state(self, state, batch: int, single: bool) -> State:
        layers = self.image.layers
        if not isinstance(state, list | tuple) or len(state) != len(layers):
            raise EgretError(f"state must be a list of {len(layers)} pairs (c, y), not {brief(state)}")
        checked = []
        for index, (layer, pair) in enumerate(zip(layers, state, strict=True)):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise EgretError(f"state of layer {index} must be a pair (c, y), not {brief(pair)}")
            ranges = {"c": layer.spec.state_range, "y": (0, layer.event_format.hi)}
            parts = []
            for (name, (low, high)), part in zip(ranges.items(), pair, strict=True):
                what, shape = f"{name} of layer {index} in state", (batch, layer.spec.units)
                values = as_integers(what, part)
                if single and values.ndim == 1:
                    values = values[None]
                if values.shape != shape:
                    raise EgretError(f"{what} must have shape {shape}, not {values.shape}")
                if values.min() < low or values.max() > high:
                    raise EgretError(
                        f"{what} must be within {low}..{high}, not {values.min()}..{values.max()}"
                    )
                parts.append(values.astype(np.int64))
            checked.append((parts[0], parts[1]))
        return checked

    def _read_out(self, events: np.ndarray, alive: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        readout = self.image.readout
        if readout.spec.mode == "mean":
            total = events.sum(axis=0) @ readout.weight.T.astype(np.int64)
            return total + lengths[:, None] * readout.bias
        if readout.spec.mode == "last":
            last = events[lengths - 1, np.arange(len(lengths))]
            return _product(last, readout.weight) + readout.bias
        return (_product(events, readout.weight) + readout.bias) * alive[:, :, None]


def check_sequence(name: str, x, image: NetworkImage) -> np.ndarray:
    """Return one sequence, steps x inputs, as integers that an image takes, or raise EgretError."""
    x = as_integers(name, x)
    size = image.input.size
    if x.ndim != 2 or x.shape[1] != size or len(x) == 0:
        raise EgretError(f"{name} must have shape (steps, {size}) with at least one step, not {x.shape}")
    _check_values(name, x, image)
    _check_steps(name, len(x), image)
    return x


def _check_values(name: str, x: np.ndarray, image: NetworkImage) -> None:
    low, high = image.input.format.lo, image.input.format.hi
    if x.min() < low or x.max() > high:
        raise EgretError(f"{name} must be within {low}..{high}, not {x.min()}..{x.max()}")


def _check_steps(name: str, steps: int, image: NetworkImage) -> None:
    readout = image.readout.spec
    if readout.mode == "mean" and steps > readout.max_steps:
        raise EgretError(f"{name} must have at most max_steps = {readout.max_steps} steps, not {steps}")


def _run_layer(
    layer: Layer, x: np.ndarray, state: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events, states and gated events (T x B x N) of one layer for its inputs x (T x B x I) from a state."""
    spec = layer.spec
    steps, batch = x.shape[:2]
    units, k = spec.units, spec.table_bits
    fa, si, sh = layer.acc_frac, layer.input_shift, layer.recurrent_shift
    half, payload_max = 1 << (k - 1), layer.event_format.hi
    sigmoid, tanh = layer.sigmoid.astype(np.int64), layer.tanh.astype(np.int64)
    theta = layer.threshold.astype(np.int64)
    bias = layer.bias.astype(np.int64)

    c, y = np.zeros((2, batch, units), np.int64) if state is None else state
    events, states, gated = np.zeros((3, steps, batch, units), np.int64)
    input_weight = layer.input_weight.astype(np.float64)
    gate_weight, candidate_weight = np.split(layer.recurrent_weight.astype(np.float64), [2 * units])
    for t in range(steps):
        az, ar, aa = np.split(_product(x[t], input_weight) << si, 3, axis=-1)
        qz, qr = np.split(_product(y, gate_weight) << sh, 2, axis=-1)
        z = sigmoid[half + saturate_signed(round_shift(az + qz + bias[0], fa - (k - 4)), k)]
        r = sigmoid[half + saturate_signed(round_shift(ar + qr + bias[1], fa - (k - 4)), k)]
        if spec.reset == "after":
            qq = _product(y, candidate_weight) << sh
            a = saturate_signed(round_shift(aa + bias[2], fa - NARROW_FRAC), NARROW_BITS)
            q = saturate_signed(round_shift(qq + bias[3], fa - NARROW_FRAC), NARROW_BITS)
            index = round_shift((a << STATE_FRAC) + r * q, STATE_FRAC + NARROW_FRAC - (k - 3))
        else:
            gated[t] = round_shift(r * y, STATE_FRAC)
            qq = _product(gated[t], candidate_weight) << sh
            index = round_shift(aa + qq + bias[2] + bias[3], fa - (k - 3))
        g = tanh[half + saturate_signed(index, k)]
        before = g + round_shift(z * (c - g), STATE_FRAC)
        if spec.state_reset == "output":
            before -= y << spec.payload_shift
        fired = before > theta
        y = np.where(fired, np.minimum(payload_max, round_shift(before, spec.payload_shift)), 0)
        c = np.where(fired, before - theta, before) if spec.state_reset == "threshold" else before
        events[t], states[t] = y, c
    return events, states, gated
