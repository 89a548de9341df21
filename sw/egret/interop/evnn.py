"""Networks of EvNN, the library of the EGRU's authors.

A layer there holds ``kernel`` (I x 3H), ``recurrent_kernel`` (H x 3H), ``bias`` and ``recurrent_bias`` (3H),
column blocks in the order z, r, g; thresholds ``thr`` (H), which every forward pass clamps to [0, 1]; and
``dampening_factor`` and ``pseudo_derivative_support`` (one number each), gamma and eps of the surrogate.
Its step is `egru.EGRU`'s with reset="after" and state_reset="threshold". With zoneout p its compiled kernels
compute in evaluation, before they compare with the threshold,

    c~ = p * c[t-1] + (1 - p) * (z * c[t-1] + (1 - z) * g)

which is the same step with p + (1 - p) * z for z. The zoneout is no part of a state dict, and DropConnect
does nothing in evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from egru import Network
from egru.egru import THRESHOLD_MIN
from egru.errors import EgretError

from .state_dict import (
    Imported,
    classes_of,
    common_dtype,
    find_readout,
    in_order,
    matrix_shape,
    refuse_leftovers,
    refuse_own,
    set_readout,
    take,
    unused,
)

#: Readouts of the library's own networks by name, and what they answer.
READOUTS = {"hidden2out": "last", "fc": "last", "decoder.decoder": "every", "readout": "mean"}
_HINT = "layers must be numbered from 0 without a gap; rename them if there never was one"
_PARAMETERS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias", "thr")
_CONSTANTS = {"dampening_factor": 0.7, "pseudo_derivative_support": 1.0}


@torch.no_grad()
def import_evnn(
    tensors: Mapping[str, Tensor],
    *,
    zoneout: float = 0.0,
    readout: str | None = None,
    mode: str | None = None,
    classes: int | None = None,
) -> Imported:
    """Make a network from a state dict with EvNN's EGRU layers.

    Parameters
    ----------
    tensors : the state dict; layers are found by their parameters' names below any prefix, and stacked in the
        order of their prefixes.
    zoneout : the argument of that name that the layers were made with.
    readout : name of the linear layer behind the last layer; by default one of `READOUTS`.
    mode : "mean", "last" or "every", see `egru.Network`; by default that of `READOUTS`, else "last".
    classes : for a network without a readout: classes of a fresh one, from torch's global generator.

    Layers of unequal size become equally large: units are added whose weights are zero, so that they never
    fire and nobody hears them. Thresholds below 2^-8, the least that Egret has, are raised to it.

    Raises EgretError if names or shapes do not fit.
    """
    refuse_own(tensors)
    end = "recurrent_kernel"
    layers = in_order({k.removesuffix(end) for k in tensors if k == end or k.endswith("." + end)})
    if not layers:
        raise EgretError("the state dict must hold layers of EvNN: no name in it ends with recurrent_kernel")
    _check_numbers(tensors, layers)
    sizes = [matrix_shape(tensors, p + end)[0] for p in layers]
    inputs = [matrix_shape(tensors, p + "kernel")[0] for p in layers]
    notes: list[str] = []
    used: set[str] = set()
    for k in range(1, len(layers)):
        if inputs[k] != sizes[k - 1]:
            raise EgretError(
                f"layer {layers[k].rstrip('.')!r} takes {inputs[k]} inputs and must take the {sizes[k - 1]} "
                f"events of layer {layers[k - 1].rstrip('.')!r}: only plain stacks can be imported"
            )
    gamma, eps = (_constant(tensors, layers, name, notes, used) for name in _CONSTANTS)
    readout = find_readout(tensors, sizes[-1], tuple(READOUTS), readout, classes)
    if mode is None:
        mode = next((m for name, m in READOUTS.items() if (readout or "").endswith(name)), "last")
    width = max(sizes)
    network = Network(
        inputs[0], width, classes_of(tensors, readout, classes), len(layers), readout=mode, zoneout=zoneout,
        gamma=gamma, eps=eps,
        dtype=common_dtype(tensors, [*(p + n for p in layers for n in _PARAMETERS), f"{readout}.weight"]),
    )  # fmt: skip
    for k, (prefix, units) in enumerate(zip(layers, sizes, strict=True)):
        shapes = {
            "kernel": (inputs[k], 3 * units), "recurrent_kernel": (units, 3 * units), "bias": (3 * units,),
            "recurrent_bias": (3 * units,), "thr": (units,),
        }  # fmt: skip
        values = {name: take(tensors, prefix + name, shape) for name, shape in shapes.items()}
        used.update(prefix + name for name in (*shapes, "_max_norm"))
        ours = network.egru.layer_parameters(k)
        _place(ours.weight_ih, values["kernel"].t(), units)
        _place(ours.weight_hh, values["recurrent_kernel"].t(), units)
        _place(ours.bias_ih, values["bias"], units)
        _place(ours.bias_hh, values["recurrent_bias"], units)
        clamped = values["thr"].clamp(0.0, 1.0)
        if low := int((clamped < THRESHOLD_MIN).sum()):
            notes.append(f"layer {k}: {low} of {units} thresholds below 2^-8 are raised to it")
        ours.theta.fill_(1.0)
        ours.theta[:units] = clamped.clamp(THRESHOLD_MIN)
        if units < width:
            notes.append(f"layer {k}: {units} units, and {width - units} that never fire beside them")
    set_readout(network, tensors, readout, used, notes)
    used |= {p + "_max_norm" for p in layers}
    places = layers if readout is None else [*layers, f"{readout}."]
    refuse_leftovers(tensors, used, "|".join({*_PARAMETERS, *_CONSTANTS} - {"bias"}), places)
    unused(tensors, used, notes)
    return Imported(network.eval(), tuple(notes))


def export_evnn(network: Network) -> dict[str, Tensor]:
    """Return a state dict with EvNN's EGRU layers ``rnns.K`` and the readout ``readout``.

    `import_evnn` makes the same network of it, given its zoneout, which a state dict does not hold. Raises
    EgretError for the variants of the resets that EvNN does not have.
    """
    options = network.egru.options
    if (options.reset, options.state_reset) != ("after", "threshold"):
        raise EgretError(
            "EvNN has reset='after' and state_reset='threshold' only, and the network has "
            f"reset={options.reset!r} and state_reset={options.state_reset!r}"
        )
    network.egru.clamp_thresholds_()
    tensors: dict[str, Tensor] = {}
    for k in range(network.egru.num_layers):
        p = network.egru.layer_parameters(k)
        layer = {
            "kernel": p.weight_ih.t(),
            "recurrent_kernel": p.weight_hh.t(),
            "bias": p.bias_ih,
            "recurrent_bias": p.bias_hh,
            "thr": p.theta,
            "dampening_factor": p.theta.new_tensor([options.gamma]),
            "pseudo_derivative_support": p.theta.new_tensor([options.eps]),
            "_max_norm": p.theta.new_tensor([-1.0]),  # no clipping of gradients
        }
        tensors |= {f"rnns.{k}.{name}": value.detach().clone().contiguous() for name, value in layer.items()}
    readout = network.readout
    return tensors | {
        "readout.weight": readout.weight.detach().clone(),
        "readout.bias": readout.bias.detach().clone(),
    }


def _check_numbers(tensors: Mapping[str, Tensor], prefixes: list[str]) -> None:
    """Raise EgretError unless the layers are one stack, numbered without a gap: one may have been lost."""
    words = [prefix.split(".") for prefix in prefixes]
    if len(prefixes) == 1:
        places = [i for i, word in enumerate(words[0]) if word.isdigit()][-1:]
    else:
        places = [i for i, column in enumerate(zip(*words, strict=False)) if len(set(column)) > 1]
    numbered = [[re.fullmatch(r"(.*?)(\d+)", word[i]) for word in words] for i in places]
    stems = {match and match[1] for column in numbered for match in column}
    if not places and len(prefixes) == 1:
        return
    if len(places) != 1 or len({len(word) for word in words}) > 1 or len(stems) > 1 or None in stems:
        shown = ", ".join(repr(prefix.rstrip(".")) for prefix in prefixes)
        raise EgretError(
            f"layers must be one numbered stack, and are {shown}: only plain stacks can be imported"
        )
    (place,) = places
    (stem,) = stems
    numbers = [int(match[2]) for match in numbered[0] if match]
    for k in range(numbers[0], numbers[-1]):
        if k not in numbers:
            raise EgretError(f"layer {_named(words[0], place, stem, k)!r} is missing: {_HINT}")
    first = 1 if stem else 0  # rnn1, rnn2 or rnns.0, rnns.1
    for k in range(first, numbers[0]):
        name = _named(words[0], place, stem, k)
        if not any(key.startswith(name + ".") for key in tensors):  # an embedding may come first
            raise EgretError(f"layer {name!r} is missing: {_HINT}")


def _named(words: list[str], place: int, stem: str | None, number: int) -> str:
    return ".".join([*words[:place], f"{stem}{number}"])


def _place(ours: Tensor, theirs: Tensor, units: int) -> None:
    """Copy a matrix of 3 x units rows into one of 3 blocks of at least as many rows, and zero the rest."""
    blocks = ours.zero_().view(3, -1, *ours.shape[1:])
    source = theirs.reshape(3, units, *theirs.shape[1:])
    if ours.dim() == 1:
        blocks[:, :units] = source
    else:
        blocks[:, :units, : source.shape[2]] = source


def _constant(
    tensors: Mapping[str, Tensor], layers: list[str], name: str, notes: list[str], used: set[str]
) -> float:
    """Return a constant that every layer holds; a stack of Egret has one, that of the first layer."""
    found = [float(take(tensors, p + name, (1,))) for p in layers if p + name in tensors]
    used.update(p + name for p in layers)
    if not found:
        return _CONSTANTS[name]
    if len(set(found)) > 1:
        notes.append(
            f"{name} differs between layers, {found}: the first is taken; it matters in training alone"
        )
    return found[0]
