"""A trained `torch.nn.GRU` as the starting point of an EGRU.

The two have the same gates: the reset after the recurrent product, two biases per gate, and an update gate
that keeps the state, h = (1 - z) * n + z * h. PyTorch stacks the row blocks as r, z, n; Egret as z, r, g.
What a GRU does not have are thresholds: every unit speaks in every step, negative values too, and loses
nothing by it. So the converted network makes the GRU's step from a given state and input, but answers as the
GRU does only after training on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from egru import Network
from egru.errors import EgretError

from .state_dict import (
    Imported,
    classes_of,
    common_dtype,
    find_readout,
    matrix_shape,
    refuse_leftovers,
    refuse_own,
    set_readout,
    take,
    unused,
)

#: Usual names of the linear layer behind a GRU.
READOUTS = ("readout", "hidden2out", "fc", "head", "classifier", "linear", "decoder")
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_STACK = r"(weight|bias)_(ih|hh|hr)_l.*"


@torch.no_grad()
def import_gru(
    tensors: Mapping[str, Tensor],
    *,
    theta_mean: float = 0.3,
    readout: str | None = None,
    mode: str = "mean",
    classes: int | None = None,
) -> Imported:
    """Make a network from a state dict with one `torch.nn.GRU` of any number of layers, in one direction.

    Parameters
    ----------
    tensors : the state dict; the GRU is found by its parameters' names, below any prefix.
    theta_mean : mean of the new thresholds, drawn from torch's global generator as `egru.EGRU` draws them.
    readout : name of the linear layer behind the GRU; by default one of `READOUTS`, if there is one.
    mode : "mean", "last" or "every", see `egru.Network`.
    classes : without a readout: classes of a fresh one.

    Raises EgretError if names or shapes do not fit: for an LSTM, both directions, a projection, two GRUs, a
    layer that is missing, and networks of Egret's own.
    """
    refuse_own(tensors)
    first = "weight_hh_l0"
    prefixes = sorted(k.removesuffix(first) for k in tensors if k == first or k.endswith("." + first))
    if len(prefixes) != 1:
        raise EgretError(f"the state dict must hold one torch.nn.GRU, not {len(prefixes)}: {prefixes}")
    (prefix,) = prefixes
    if odd := [k for k in tensors if k.startswith(prefix) and ("_reverse" in k or "weight_hr_l" in k)]:
        raise EgretError(f"the GRU must run in one direction and have no projection, and has {odd[0]}")
    rows, units = matrix_shape(tensors, prefix + first)
    if rows != 3 * units:
        raise EgretError(
            f"{prefix}{first} must have 3 rows for each of {units} units, as a GRU has, not {rows} rows"
        )
    layers = 1
    while f"{prefix}weight_hh_l{layers}" in tensors:
        layers += 1
    _, inputs = matrix_shape(tensors, f"{prefix}weight_ih_l0")
    names = [f"{prefix}{name}_l{k}" for k in range(layers) for name in _NAMES]
    has_bias = any(name in tensors for name in names if ".bias" in f".{name.removeprefix(prefix)}")
    notes = ["the thresholds are new: a GRU has none, so the network must be trained on"]
    used: set[str] = set()
    readout = find_readout(tensors, units, READOUTS, readout, classes)
    network = Network(
        inputs, units, classes_of(tensors, readout, classes), layers, readout=mode, theta_mean=theta_mean,
        dtype=common_dtype(tensors, [*names, f"{readout}.weight"]),
    )  # fmt: skip
    for k in range(layers):
        ours = network.egru.layer_parameters(k)._asdict()
        for name in _NAMES:
            full = f"{prefix}{name}_l{k}"
            if name.startswith("bias") and not has_bias:
                ours[name].zero_()  # the GRU was made with bias=False
                continue
            r, z, n = take(tensors, full, tuple(ours[name].shape)).chunk(3)
            ours[name].copy_(torch.cat((z, r, n)))
            used.add(full)
    set_readout(network, tensors, readout, used, notes)
    places = [prefix] if readout is None else [prefix, f"{readout}."]
    refuse_leftovers(tensors, used, _STACK, places)
    unused(tensors, used, notes)
    return Imported(network.eval(), tuple(notes))
