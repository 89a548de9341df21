"""Reading a state dict from a file that somebody else wrote: tensors only, never code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from egret.files import reading
from egret.interop.torch_file import Odd, read_torch
from egret.tasks.pickles import ForbiddenError
from egret.torch_tensors import check_finite, read_tensors
from egru import Network
from egru.errors import EgretError
from egru.untrusted import TENSORS_BYTES_MAX, opened, read_file, shown

#: Keys under which training scripts keep a state dict inside a larger checkpoint.
NESTED = ("state_dict", "model_state_dict", "model")
KIND = "a safetensors file or one of torch.save"


@dataclass(frozen=True)
class Imported:
    """A network made from another library's state dict."""

    network: Network
    notes: tuple[str, ...]  #: what is not as it was there, one sentence each


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict: a safetensors file, or a PyTorch file with nothing but tensors.

    A PyTorch file is a pickle, of which no object is ever built (:mod:`egret.interop.torch_file`). A state
    dict below one of the keys `NESTED` is found. Narrow floats become float32.

    Raises EgretError for a missing or damaged file, one that holds more than plain values, and for tensors
    that are not finite.
    """
    what = f"state dict {shown(path)}"
    try:
        with reading("state dict", path, KIND):
            with opened(path, TENSORS_BYTES_MAX) as source:
                start = bytes(source.read(min(8, source.size)))
            # An archive, or a pickle. A safetensors file starts with its header's length, which is short.
            if start.startswith(b"PK\3\4") or (start.startswith(b"\x80") and any(start[3:])):
                found = read_torch(read_file(path, TENSORS_BYTES_MAX))
            else:
                found = read_tensors("state dict", path, KIND)[1]
    except ForbiddenError as error:
        raise EgretError(
            f"{what} must hold tensors and plain values only; save `model.state_dict()`, and not the model: "
            f"{error}"
        ) from None
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    tensors = {}
    if isinstance(found, Mapping):
        for name, value in found.items():
            if isinstance(value, Odd):
                raise EgretError(f"{shown(name)} of {what} must be a plain dense tensor")
            if isinstance(value, Tensor):
                tensors[name] = value
    if not tensors:
        raise EgretError(f"{what} must hold tensors by name")
    check_finite(what, tensors)
    return {
        name: value.float() if value.is_floating_point() and value.dtype != torch.float64 else value
        for name, value in tensors.items()
    }


def in_order(prefixes: set[str]) -> list[str]:
    """Names of modules in their order, ``rnns.10`` after ``rnns.9``."""
    return sorted(
        prefixes, key=lambda p: [(0, int(w), "") if w.isdigit() else (1, 0, w) for w in p.split(".")]
    )


def refuse_own(tensors: Mapping[str, Tensor]) -> None:
    """Raise EgretError for a state dict that Egret itself made: its gates come in another order."""
    for name in sorted(tensors):
        if re.search(r"(^|\.)theta_l\d+$", name):
            raise EgretError(
                f"the state dict must be another library's, and with {name} it is that of an EGRU of Egret, "
                "which needs no import: `egret quantize` and `egret export` take its file, "
                "egru.Network.load_state_dict takes the tensors"
            )
        if re.search(r"^layers\.\d+\.recurrent_weight$", name):
            raise EgretError(
                f"the state dict must be of a float network, and with {name} it is a network image of Egret: "
                "`egret evaluate` and `egret simulate` take it"
            )


def refuse_leftovers(
    tensors: Mapping[str, Tensor], used: set[str], stack: str, within: Iterable[str]
) -> None:
    """Raise EgretError for tensors of the stack itself that nothing took: without them it is another network.

    Those are the ones whose last word matches ``stack``, and whatever lies directly ``within`` a prefix.
    """
    ends = re.compile(rf"(^|\.)({stack})$")
    places = tuple(within)
    left = [
        name
        for name in sorted(set(tensors) - used)
        if ends.search(name) or any(name.startswith(p) and "." not in name[len(p) :] for p in places)
    ]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise EgretError(
            f"{', '.join(left[:3])}{more} cannot be taken, and the network would be another one without: the "
            "state dict must hold whole layers, numbered from 0 without a gap, and nothing else beside their "
            "parameters"
        )


def common_dtype(tensors: Mapping[str, Tensor], names: Iterable[str]) -> torch.dtype:
    """Return the type that holds every one of the floating tensors of those names."""
    kinds = [tensors[name].dtype for name in names if name in tensors and tensors[name].is_floating_point()]
    return reduce(torch.promote_types, kinds)


def _check_plain(name: str, value: Tensor) -> None:
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise EgretError(f"{name} must be a plain dense tensor")
    if not value.is_floating_point():
        raise EgretError(f"{name} must hold floating point numbers, not {value.dtype}")
    if not value.isfinite().all():
        raise EgretError(f"{name} must hold finite numbers only")


def matrix_shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Rows and columns of the floating matrix of that name, or raise EgretError."""
    if name not in tensors or tensors[name].dim() != 2 or not tensors[name].is_floating_point():
        raise EgretError(f"{name} must be there, as a matrix of floating point numbers")
    rows, columns = tensors[name].shape
    return rows, columns


def take(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the floating tensor of that name and shape, or raise EgretError."""
    if name not in tensors:
        raise EgretError(f"{name} is missing: the state dict must hold the layer's every parameter")
    value = tensors[name]
    if tuple(value.shape) != shape:
        raise EgretError(f"{name} must be of shape {shape}, not {tuple(value.shape)}")
    _check_plain(name, value)
    return value


def find_readout(
    tensors: Mapping[str, Tensor],
    units: int,
    known: tuple[str, ...],
    wanted: str | None,
    classes: int | None,
) -> str | None:
    """Return the name of the linear layer that reads the last layer's ``units`` units, None if there is none.

    It is ``wanted``, or else the one whose name, or the end of it, is among ``known``; if it reads another
    number of units it is passed over where ``classes`` ask for a fresh one. Raises EgretError if ``wanted``
    is not there, if several names are known, and if the one found reads another number of units.
    """
    linear = {k.removesuffix(".weight") for k, v in tensors.items() if k.endswith(".weight") and v.dim() == 2}
    if wanted is not None:
        if wanted not in linear:
            names = ", ".join(sorted(linear)) or "(it has none)"
            raise EgretError(f"readout must be a linear layer of the state dict, {names}; not {wanted!r}")
        found = [wanted]
    else:
        found = [
            name
            for name in sorted(linear)
            if any(re.search(rf"(^|\.){re.escape(end)}$", name) for end in known)
        ]
    if not found:
        return None
    if len(found) > 1:
        raise EgretError(
            f"the readout must be named, as several layers could be it: {', '.join(found)}; what lies "
            "between the stack and the readout cannot be imported"
        )
    inputs = tensors[f"{found[0]}.weight"].shape[1]
    if inputs != units and wanted is None and classes is not None:
        return None
    if inputs != units:
        raise EgretError(
            f"readout {found[0]} takes {inputs} inputs and the last layer has {units} units, so there is a "
            "layer between them that Egret does not have: name another readout, or give classes for a fresh "
            "one"
        )
    return found[0]


@torch.no_grad()
def set_readout(
    network: Network, tensors: Mapping[str, Tensor], readout: str | None, used: set[str], notes: list[str]
) -> None:
    """Copy the readout's weights into a network, or leave it as initialised and say so."""
    if readout is None:
        notes.append(f"the readout to {network.num_classes} classes is fresh: it must be trained")
        return
    classes = network.num_classes
    weight = take(tensors, f"{readout}.weight", tuple(tensors[f"{readout}.weight"].shape))
    network.readout.weight.zero_()
    network.readout.weight[:, : weight.shape[1]] = weight
    used.add(f"{readout}.weight")
    network.readout.bias.zero_()
    if f"{readout}.bias" in tensors:
        network.readout.bias.copy_(take(tensors, f"{readout}.bias", (classes,)))
        used.add(f"{readout}.bias")


def classes_of(tensors: Mapping[str, Tensor], readout: str | None, classes: int | None) -> int:
    """Return the readout's number of classes; raises EgretError if nothing says it, or two things do."""
    if readout is None and classes is None:
        raise EgretError(
            "the state dict has no readout that is known by name: name it with readout, or give classes for "
            "a fresh one"
        )
    if readout is None:
        assert classes is not None
        return classes
    found = tensors[f"{readout}.weight"].shape[0]
    if classes is not None and classes != found:
        raise EgretError(f"classes must be {found}, as readout {readout} has them, not {classes}")
    return found


def unused(tensors: Mapping[str, Tensor], used: set[str], notes: list[str]) -> None:
    """Say which tensors were not taken."""
    if left := sorted(set(tensors) - used):
        notes.append(f"not taken: {', '.join(left)}")
