"""The integer golden model: what the hardware must compute (docs/numerics.md, sections 3 and 5).

Written to be read beside that page. All quantities are int64 arrays; numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egru.errors import EgretError
from egru.formats import NARROW_BITS, NARROW_FRAC, STATE_FRAC, round_shift, saturate_signed
from egru.image import Layer, NetworkImage

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
            Per layer (c, y), each B x N, as `Trace.last` returned them for the window before; for x with B.

        Raises
        ------
        EgretError
            If ``x`` is not integers, has a wrong shape, no steps, values outside the input format, or, in
            mode ``mean``, more than ``max_steps`` steps; or if ``lengths`` does not fit ``x``.
        """
        single = np.ndim(x) == 2
        x, lengths = self._checked(x, lengths)
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

    def _checked(self, x, lengths) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(x)
        spec, readout = self.image.input, self.image.readout.spec
        if x.dtype.kind not in "iu":
            raise EgretError(f"x must hold integers, not {x.dtype}: image.input.format.quantise makes them")
        if x.ndim not in (2, 3) or x.shape[-1] != spec.size:
            raise EgretError(f"x must have shape T x {spec.size} or T x B x {spec.size}, not {x.shape}")
        if x.ndim == 2:
            if lengths is not None:
                raise EgretError("lengths need x of shape T x B x I; for one sequence cut x instead")
            x = x[:, None]
        steps, batch = x.shape[:2]
        if steps == 0 or batch == 0:
            raise EgretError(f"x must have at least one step and one sequence, not shape {x.shape}")
        lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
        if lengths.dtype.kind not in "iu" or lengths.shape != (batch,):
            raise EgretError(
                f"lengths must be {batch} integers, not {lengths.dtype} of shape {lengths.shape}"
            )
        if lengths.min() < 1 or lengths.max() > steps:
            raise EgretError(f"lengths must be within 1..{steps}, not {lengths.min()}..{lengths.max()}")
        if readout.mode == "mean" and lengths.max() > readout.max_steps:
            raise EgretError(
                f"a sequence must have at most max_steps = {readout.max_steps} steps, not {lengths.max()}"
            )
        fmt = spec.format
        if x.min() < fmt.lo or x.max() > fmt.hi:
            raise EgretError(f"x must be within {fmt.lo}..{fmt.hi}, not {x.min()}..{x.max()}")
        return x.astype(np.int64), lengths.astype(np.int64)

    def _read_out(self, events: np.ndarray, alive: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        readout = self.image.readout
        if readout.spec.mode == "mean":
            total = events.sum(axis=0) @ readout.weight.T.astype(np.int64)
            return total + lengths[:, None] * readout.bias
        if readout.spec.mode == "last":
            last = events[lengths - 1, np.arange(len(lengths))]
            return _product(last, readout.weight) + readout.bias
        return (_product(events, readout.weight) + readout.bias) * alive[:, :, None]


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
