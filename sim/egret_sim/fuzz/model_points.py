"""Cover points in the numbers: what the integer model met on the way, and the hardware with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from egru.formats import NARROW_BITS, NARROW_FRAC, STATE_FRAC, STATE_MAX, round_shift
from egru.image import Layer, NetworkImage
from egru.integer import Trace

MODEL_POINTS = [
    *(f"index of {gate} below the table" for gate in "zrg"),
    *(f"index of {gate} above the table" for gate in "zrg"),
    "candidate's input part beyond 16 bits",
    "candidate's recurrent part beyond 16 bits",
    "potential equal to the threshold",
    "potential one above the threshold",
    "payload cut to its largest",
    "payload of 1",
    "state at its largest",
    "state below -32767",
    "every unit fires",
    "no unit fires",
    "the first unit alone fires",
    "the last unit alone fires",
    "a unit fires twice in a row",
    "a gated event vanishes",
    "a gated event is what is left of a larger one",
    "a step without input",
    "every input in one step",
    "a sequence of one step",
    "two largest logits",
]


def count_points(
    image: NetworkImage, sequences: Sequence[np.ndarray], traces: Iterable[Trace]
) -> Counter[str]:
    """How often each of :data:`MODEL_POINTS` came up."""
    found: Counter[str] = Counter()
    for x, trace in zip(sequences, traces, strict=True):
        arriving = x.astype(np.int64)
        found["a step without input"] += int((~x.any(axis=1)).sum())
        found["every input in one step"] += int(x.all(axis=1).sum())
        found["a sequence of one step"] += len(x) == 1
        logits = np.atleast_2d(trace.logits)
        found["two largest logits"] += int(
            ((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()
        )
        for layer, events, states in zip(image.layers, trace.events, trace.states, strict=True):
            _count_layer(layer, arriving, events, states, found)
            arriving = events
    return found


def potentials(layer: Layer, events: np.ndarray, states: np.ndarray) -> np.ndarray:
    """What was compared with the thresholds, from what a layer sent and the states it then had."""
    if layer.spec.state_reset == "output":
        return states
    return np.where(events > 0, states + layer.threshold.astype(np.int64), states)


def _count_layer(
    layer: Layer, x: np.ndarray, events: np.ndarray, states: np.ndarray, found: Counter[str]
) -> None:
    """The sums of all steps at once, from what the layer sent (docs/numerics.md, section 3)."""
    spec, fa, k, units = layer.spec, layer.acc_frac, layer.spec.table_bits, layer.spec.units
    before = np.vstack([np.zeros((1, units), np.int64), events[:-1]])
    weight, recurrent = layer.input_weight.astype(np.int64), layer.recurrent_weight.astype(np.int64)
    bias, theta = layer.bias.astype(np.int64), layer.threshold.astype(np.int64)
    az, ar, aa = np.split((x @ weight.T) << layer.input_shift, 3, axis=-1)
    qz, qr, qq = np.split((before @ recurrent.T) << layer.recurrent_shift, 3, axis=-1)
    z = round_shift(az + qz + bias[0], fa - (k - 4))
    r = round_shift(ar + qr + bias[1], fa - (k - 4))
    half = 1 << (k - 1)
    gate = layer.sigmoid.astype(np.int64)[half + np.clip(r, -half, half - 1)]
    if spec.reset == "after":
        limit = 1 << (NARROW_BITS - 1)
        a = round_shift(aa + bias[2], fa - NARROW_FRAC)
        q = round_shift(qq + bias[3], fa - NARROW_FRAC)
        found["candidate's input part beyond 16 bits"] += int(((a < -limit) | (a >= limit)).sum())
        found["candidate's recurrent part beyond 16 bits"] += int(((q < -limit) | (q >= limit)).sum())
        a, q = np.clip(a, -limit, limit - 1), np.clip(q, -limit, limit - 1)
        g = round_shift((a << STATE_FRAC) + gate * q, STATE_FRAC + NARROW_FRAC - (k - 3))
    else:
        gated = round_shift(gate * before, STATE_FRAC)
        found["a gated event vanishes"] += int(((gated == 0) & (before > 0)).sum())
        found["a gated event is what is left of a larger one"] += int(((gated > 0) & (gated < before)).sum())
        qq = (gated @ recurrent[2 * units :].T) << layer.recurrent_shift
        g = round_shift(aa + qq + bias[2] + bias[3], fa - (k - 3))
    for name, index in (("z", z), ("r", r), ("g", g)):
        found[f"index of {name} below the table"] += int((index < -half).sum())
        found[f"index of {name} above the table"] += int((index >= half).sum())
    fired = events > 0
    potential = potentials(layer, events, states)
    found["potential equal to the threshold"] += int((potential == theta).sum())
    found["potential one above the threshold"] += int((potential == theta + 1).sum())
    rounded = round_shift(potential, spec.payload_shift)
    found["payload cut to its largest"] += int((fired & (rounded > layer.event_format.hi)).sum())
    found["payload of 1"] += int((events == 1).sum())
    found["state at its largest"] += int((states == STATE_MAX).sum())
    found["state below -32767"] += int((states < -STATE_MAX).sum())
    if units > 1:
        found["every unit fires"] += int(fired.all(axis=1).sum())
        alone = fired.sum(axis=1) == 1
        found["the first unit alone fires"] += int((alone & fired[:, 0]).sum())
        found["the last unit alone fires"] += int((alone & fired[:, -1]).sum())
        found["no unit fires"] += int((~fired.any(axis=1)).sum())
    found["a unit fires twice in a row"] += int((fired[1:] & fired[:-1]).sum())
