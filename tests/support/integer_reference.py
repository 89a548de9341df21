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


def layer_step(layer, u, c, A, Q, rounding=rshr, fires=operator.gt):
    """Section 3 for unit u from its products A and Q (three gates each): every quantity by its name."""
    spec = layer.spec
    n, k, eb = spec.units, spec.table_bits, spec.event_bits
    fx = layer.input_format.frac
    fa = max(11, fx + spec.input_weight_frac, eb + spec.recurrent_weight_frac)
    si = fa - (fx + spec.input_weight_frac)
    sh = fa - (eb + spec.recurrent_weight_frac)
    b = [[int(v) for v in row] for row in layer.bias]
    half = 2 ** (k - 1)
    assert n == len(b[0])

    Sz = A[0] * 2**si + Q[0] * 2**sh + b[0][u]
    Sr = A[1] * 2**si + Q[1] * 2**sh + b[1][u]
    Sa = A[2] * 2**si + b[2][u]
    Sq = Q[2] * 2**sh + b[3][u]
    iz = sat_s(rounding(Sz, fa - (k - 4)), k)
    ir = sat_s(rounding(Sr, fa - (k - 4)), k)
    z, r = int(layer.sigmoid[iz + half]), int(layer.sigmoid[ir + half])
    a = sat_s(rounding(Sa, fa - 11), 16)
    q = sat_s(rounding(Sq, fa - 11), 16)
    ig = sat_s(rounding(a * 2**15 + r * q, 26 - (k - 3)), k)
    g = int(layer.tanh[ig + half])
    before = g + rounding(z * (c - g), 15)
    theta = int(layer.threshold[u])
    fired = fires(before, theta)
    y = min(2**eb - 1, rounding(before, 15 - eb)) if fired else 0
    after = before - theta if fired else before
    return {
        "Sz": Sz, "Sr": Sr, "Sa": Sa, "Sq": Sq, "iz": iz, "ir": ir, "z": z, "r": r,
        "a": a, "q": q, "ig": ig, "g": g, "c~": before, "fired": int(fired), "y": y, "c": after,
    }  # fmt: skip


def products(rows, events, units, u, order):
    """The three gates' sums of unit u, adding one event at a time in a random order."""
    present = [j for j, value in enumerate(events) if value != 0]
    order.shuffle(present)
    sums = [0, 0, 0]
    for j in present:
        for gate in range(3):
            sums[gate] += int(rows[gate * units + u][j]) * events[j]
    return sums


def run(image, x, rounding=rshr, fires=operator.gt, seed=0):
    """Trace of one sequence x (T x I), as lists of lists of integers."""
    order = random.Random(seed)
    arriving = [[int(v) for v in row] for row in x]
    all_events, all_states = [], []
    for layer in image.layers:
        n = layer.spec.units
        w, r = layer.input_weight.tolist(), layer.recurrent_weight.tolist()
        c, y = [0] * n, [0] * n
        events, states = [], []
        for inputs in arriving:
            units = [
                layer_step(
                    layer,
                    u,
                    c[u],
                    products(w, inputs, n, u, order),
                    products(r, y, n, u, order),
                    rounding,
                    fires,
                )
                for u in range(n)
            ]
            y, c = [unit["y"] for unit in units], [unit["c"] for unit in units]
            events.append(y)
            states.append(c)
        all_events.append(events)
        all_states.append(states)
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
    return Trace(all_events, all_states, logits)
