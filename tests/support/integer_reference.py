"""docs/numerics.md once more, unit by unit in Python integers: nothing of `egru.integer` is used.

Events are added one at a time in a random order. `rounding` and `fires` replace two rules, so that
tests can plant a bug and see it caught.
"""

import operator
import random

from egru.integer import Trace


def rshr(v, s):
    return (v + 2 ** (s - 1)) // 2**s if s > 0 else v


def floor_shift(v, s):
    return v // 2**s


def sat(v, lo, hi):
    return min(max(v, lo), hi)


def sat_s(v, n):
    return sat(v, -(2 ** (n - 1)), 2 ** (n - 1) - 1)


def layer_step(layer, inputs, c, y, rounding=rshr, fires=operator.gt, order=None):
    """Section 3 for all units of a layer, from its inputs and its last c and y.

    Returns per unit every quantity of the page by its name; for reset="before" there is w, but no Sq, a, q.
    """
    spec = layer.spec
    n, k, eb = spec.units, spec.table_bits, spec.event_bits
    fx = layer.input_format.frac
    fa = max(11, fx + spec.input_weight_frac, eb + spec.recurrent_weight_frac)
    si = fa - (fx + spec.input_weight_frac)
    sh = fa - (eb + spec.recurrent_weight_frac)
    b = [[int(v) for v in row] for row in layer.bias]
    W, R = layer.input_weight.tolist(), layer.recurrent_weight.tolist()
    half = 2 ** (k - 1)
    order = order or random.Random(0)
    units = [{} for _ in range(n)]

    for u, unit in enumerate(units):
        for gate in range(3):
            unit[f"A[{gate}]"] = product(W[gate * n + u], inputs, order)
        for gate in range(2):
            unit[f"Q[{gate}]"] = product(R[gate * n + u], y, order)
        for gate, name in enumerate("zr"):
            total = unit[f"A[{gate}]"] * 2**si + unit[f"Q[{gate}]"] * 2**sh + b[gate][u]
            index = sat_s(rounding(total, fa - (k - 4)), k)
            unit |= {f"S{name}": total, f"i{name}": index, name: int(layer.sigmoid[index + half])}

    if spec.reset == "before":
        for unit, payload in zip(units, y, strict=True):
            unit["w"] = rounding(unit["r"] * payload, 15)
    gated = [unit["w"] for unit in units] if spec.reset == "before" else y

    for u, unit in enumerate(units):
        unit["Q[2]"] = product(R[2 * n + u], gated, order)
        if spec.reset == "before":
            unit["Sa"] = unit["A[2]"] * 2**si + unit["Q[2]"] * 2**sh + b[2][u] + b[3][u]
            index = rounding(unit["Sa"], fa - (k - 3))
        else:
            unit["Sa"] = unit["A[2]"] * 2**si + b[2][u]
            unit["Sq"] = unit["Q[2]"] * 2**sh + b[3][u]
            unit["a"] = sat_s(rounding(unit["Sa"], fa - 11), 16)
            unit["q"] = sat_s(rounding(unit["Sq"], fa - 11), 16)
            index = rounding(unit["a"] * 2**15 + unit["r"] * unit["q"], 26 - (k - 3))
        unit["ig"] = sat_s(index, k)
        unit["g"] = g = int(layer.tanh[unit["ig"] + half])

        potential = g + rounding(unit["z"] * (c[u] - g), 15)
        if spec.state_reset == "output":
            potential -= y[u] * 2 ** (15 - eb)
        theta = int(layer.threshold[u])
        fired = fires(potential, theta)
        unit["c~"], unit["fired"] = potential, int(fired)
        unit["y"] = min(2**eb - 1, rounding(potential, 15 - eb)) if fired else 0
        unit["c"] = potential - theta if fired and spec.state_reset == "threshold" else potential
    return units


def product(row, events, order):
    """Sum of weight times event, adding one event at a time in a random order."""
    present = [j for j, value in enumerate(events) if value != 0]
    order.shuffle(present)
    total = 0
    for j in present:
        total += int(row[j]) * events[j]
    return total


def run(image, x, rounding=rshr, fires=operator.gt, seed=0):
    """Trace of one sequence x (T x I), as lists of lists of integers."""
    order = random.Random(seed)
    arriving = [[int(v) for v in row] for row in x]
    all_events, all_states, all_gated = [], [], []
    for layer in image.layers:
        c, y = [0] * layer.spec.units, [0] * layer.spec.units
        events, states, gated = [], [], []
        for inputs in arriving:
            units = layer_step(layer, inputs, c, y, rounding, fires, order)
            y, c = [unit["y"] for unit in units], [unit["c"] for unit in units]
            events.append(y)
            states.append(c)
            gated.append([unit.get("w") for unit in units])
        all_events.append(events)
        all_states.append(states)
        all_gated.append(gated if layer.spec.reset == "before" else None)
        arriving = events
    readout = image.readout
    weight, bias = readout.weight.tolist(), readout.bias.tolist()
    m = [
        [d + sum(v * y for v, y in zip(row, step, strict=True)) for row, d in zip(weight, bias, strict=True)]
        for step in arriving
    ]
    if readout.spec.mode == "mean":
        logits = [sum(column) for column in zip(*m, strict=True)]
    else:
        logits = m if readout.spec.mode == "every" else m[-1]
    return Trace(all_events, all_states, logits, all_gated)
