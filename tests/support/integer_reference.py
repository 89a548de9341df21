"""docs/numerics.md once more, from the page alone: a file's bytes in, every event, state and logit out.

Plain Python integers, one unit and one event at a time, events in a random order; nothing is shared with
`egru`, not even the reading of the file (`image_reference`). `rounding` and `fires` replace two rules, so
that tests can plant a bug and see it caught.
"""

import operator
import random

from image_reference import read

__all__ = ["read"]


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
    n, k, eb = layer["units"], layer["table_bits"], layer["event_bits"]
    fx, fwi, fwh = layer["fx"], layer["input_weight_frac"], layer["recurrent_weight_frac"]
    fa = max(11, fx + fwi, eb + fwh)
    si = fa - (fx + fwi)
    sh = fa - (eb + fwh)
    b, W, R = layer["bias"], layer["input_weight"], layer["recurrent_weight"]
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
            unit |= {f"S{name}": total, f"i{name}": index, name: layer["sigmoid"][index + half]}

    if layer["reset"] == "before":
        for unit, payload in zip(units, y, strict=True):
            unit["w"] = rounding(unit["r"] * payload, 15)
    gated = [unit["w"] for unit in units] if layer["reset"] == "before" else y

    for u, unit in enumerate(units):
        unit["Q[2]"] = product(R[2 * n + u], gated, order)
        if layer["reset"] == "before":
            unit["Sa"] = unit["A[2]"] * 2**si + unit["Q[2]"] * 2**sh + b[2][u] + b[3][u]
            index = rounding(unit["Sa"], fa - (k - 3))
        else:
            unit["Sa"] = unit["A[2]"] * 2**si + b[2][u]
            unit["Sq"] = unit["Q[2]"] * 2**sh + b[3][u]
            unit["a"] = sat_s(rounding(unit["Sa"], fa - 11), 16)
            unit["q"] = sat_s(rounding(unit["Sq"], fa - 11), 16)
            index = rounding(unit["a"] * 2**15 + unit["r"] * unit["q"], 26 - (k - 3))
        unit["ig"] = sat_s(index, k)
        unit["g"] = g = layer["tanh"][unit["ig"] + half]

        potential = g + rounding(unit["z"] * (c[u] - g), 15)
        if layer["state_reset"] == "output":
            potential -= y[u] * 2 ** (15 - eb)
        theta = layer["threshold"][u]
        fired = fires(potential, theta)
        unit["c~"], unit["fired"] = potential, int(fired)
        unit["y"] = min(2**eb - 1, rounding(potential, 15 - eb)) if fired else 0
        unit["c"] = potential - theta if fired and layer["state_reset"] == "threshold" else potential
    return units


def product(row, events, order):
    """Sum of weight times event, adding one event at a time in a random order."""
    present = [j for j, value in enumerate(events) if value != 0]
    order.shuffle(present)
    total = 0
    for j in present:
        total += row[j] * events[j]
    return total


def check_state(layer, pair):
    """Section 3: a state that is handed over, one c and one y for each unit, in their ranges."""
    c, y = ([int(v) for v in values] for values in pair)
    eb = layer["event_bits"]
    low = -65535 + 2 ** (15 - eb) if layer["state_reset"] == "output" else -32767
    if len(c) != layer["units"] or not all(low <= v <= 32767 for v in c):
        raise ValueError("c must be in its range")
    if len(y) != layer["units"] or not all(0 <= v < 2**eb for v in y):
        raise ValueError("y must be in its range")
    return c, y


def check_inputs(network, x):
    """Sections 2 and 5: what is no sequence of this network."""
    spec, readout = network["input"], network["readout"]
    low = -(2 ** (spec["bits"] - 1)) if spec["signed"] else 0
    high = low + 2 ** spec["bits"] - 1
    if not x:
        raise ValueError("a sequence has at least one step")
    if any(len(row) != spec["size"] or not all(low <= v <= high for v in row) for row in x):
        raise ValueError("a step holds one integer of the input format for each input")
    if readout["mode"] == "mean" and len(x) > readout["max_steps"]:
        raise ValueError("a window has at most max_steps steps in mode mean")


def run(network, x, rounding=rshr, fires=operator.gt, seed=0, state=None):
    """One sequence x (T x I): events, states and gated events (or None) of each layer, and the logits.

    It may be a window, with the `state` (c, y) of each layer after the step before.
    """
    order = random.Random(seed)
    arriving = [[int(v) for v in row] for row in x]
    check_inputs(network, arriving)
    all_events, all_states, all_gated = [], [], []
    for k, layer in enumerate(network["layers"]):
        c, y = ([0] * layer["units"], [0] * layer["units"]) if state is None else check_state(layer, state[k])
        events, states, gated = [], [], []
        for inputs in arriving:
            units = layer_step(layer, inputs, c, y, rounding, fires, order)
            y, c = [unit["y"] for unit in units], [unit["c"] for unit in units]
            events.append(y)
            states.append(c)
            gated.append([unit.get("w") for unit in units])
        all_events.append(events)
        all_states.append(states)
        all_gated.append(gated if layer["reset"] == "before" else None)
        arriving = events
    readout = network["readout"]
    m = [
        [
            d + sum(v * y for v, y in zip(row, step, strict=True))
            for row, d in zip(readout["weight"], readout["bias"], strict=True)
        ]
        for step in arriving
    ]
    if readout["mode"] == "mean":
        logits = [sum(column) for column in zip(*m, strict=True)]
    else:
        logits = m if readout["mode"] == "every" else m[-1]
    return all_events, all_states, all_gated, logits
