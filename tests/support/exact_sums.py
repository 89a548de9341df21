"""The extremes of every sum of a network, worked out from docs/numerics.md alone, in plain Python.

It shares no code with the hardware: integers, formats and tensors of an image are all that it looks at. A
sum's terms are independent, so its extremes are found term by term: each source sends any value of its
format, or none.
"""


def least_bits(low: int, high: int) -> int:
    """The narrowest two's complement width for low .. high, by trying."""
    bits = 1
    while not (-(2 ** (bits - 1)) <= low and high <= 2 ** (bits - 1) - 1):
        bits += 1
    return bits


def _sum_of_extremes(weights, values):
    """Least and largest sum over sources of weight * value, where a value is one of `values` or 0."""
    low = high = 0
    for weight in weights:
        products = [int(weight) * value for value in (*values, 0)]
        low, high = low + min(products), high + max(products)
    return low, high


def _span(pairs):
    pairs = list(pairs)
    return min(low for low, _ in pairs), max(high for _, high in pairs)


def _input_values(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def of_layer(layer, arriving):
    """Extremes of a layer's numbers by name, at the layer's fraction fa; `arriving` = (bits, frac, signed).

    Accumulated sums ("gate", "candidate" or "input part" and "recurrent part"), then totals with bias and
    with the half that rounds ("z", "r", "g" or "a" and "q"), biases with their halves, states, and what is
    compared.
    """
    spec, n = layer.spec, layer.spec.units
    bits, frac, signed = arriving
    k, eb = spec.table_bits, spec.event_bits
    fa = max(11, frac + spec.input_weight_frac, eb + spec.recurrent_weight_frac)
    si, sh = fa - (frac + spec.input_weight_frac), fa - (eb + spec.recurrent_weight_frac)
    x, y = _input_values(bits, signed), (0, 2**eb - 1)

    def inputs(gate, u):
        low, high = _sum_of_extremes(layer.input_weight[gate * n + u].tolist(), x)
        return low << si, high << si

    def recurrent(gate, u):
        low, high = _sum_of_extremes(layer.recurrent_weight[gate * n + u].tolist(), y)
        return low << sh, high << sh

    def both(gate, u):
        (a, b), (c, d) = inputs(gate, u), recurrent(gate, u)
        return a + c, b + d

    def rounding(shift):
        return 2 ** (shift - 1) if shift > 0 else 0

    def totals(sums, bias, shift):
        return _span(
            (low + int(bias[u]) + rounding(shift), high + int(bias[u]) + rounding(shift))
            for u, (low, high) in enumerate(sums)
        )

    z, r = [both(0, u) for u in range(n)], [both(1, u) for u in range(n)]
    b = [[int(value) for value in row] for row in layer.bias.tolist()]
    to_gate, halved = fa - (k - 4), []
    found = {"gate": _span(z + r), "z": totals(z, b[0], to_gate), "r": totals(r, b[1], to_gate)}
    halved += [value + rounding(to_gate) for value in b[0] + b[1]]
    if spec.reset == "before":
        g, shift = [both(2, u) for u in range(n)], fa - (k - 3)
        together = [b[2][u] + b[3][u] for u in range(n)]
        found |= {"candidate": _span(g), "g": totals(g, together, shift)}
        halved += [value + rounding(shift) for value in together] + [0]
    else:
        a, q, shift = [inputs(2, u) for u in range(n)], [recurrent(2, u) for u in range(n)], fa - 11
        found |= {"input part": _span(a), "recurrent part": _span(q)}
        found |= {"a": totals(a, b[2], shift), "q": totals(q, b[3], shift)}
        halved += [value + rounding(shift) for value in b[2] + b[3]]
    found["bias"] = min(halved), max(halved)
    lowest = -32767 if spec.state_reset == "threshold" else -65535 + 2 ** (15 - eb)
    found["state"] = lowest, 32767
    found["above"] = lowest - (32767 + 1), 32767 - (2 ** (15 - eb) + 1)
    return found, min(si, sh)


def of_readout(readout, event_bits):
    """Extremes of a readout's sums, biases and logits."""
    steps = readout.spec.max_steps if readout.spec.mode == "mean" else 1
    sums, logits = [], []
    for row, bias in zip(readout.weight.tolist(), readout.bias.tolist(), strict=True):
        low, high = _sum_of_extremes(row, (0, 2**event_bits - 1))
        sums.append((low * steps, high * steps))
        logits += [((low + bias) * t, (high + bias) * t) for t in {1, steps}]
    bias = [int(value) for value in readout.bias.tolist()]
    return {"sum": _span(sums), "bias": (min(bias), max(bias)), "logit": _span(logits)}
