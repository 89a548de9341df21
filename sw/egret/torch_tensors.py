"""Reading safetensors files of any type as tensors of PyTorch, within the bounds of :mod:`egru.container`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from egru.container import ALL_TYPES, read_header
from egru.errors import EgretError
from egru.untrusted import TENSORS_BYTES_MAX, brief, opened, shown

from .files import egret_header, reading

_DTYPES = {
    **{"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32},
    **{"I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32},
    **{"F64": torch.float64, "C64": torch.complex64},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
    **{"U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64},
}


def read_tensors(
    what: str, path: Path, kind: str = "a safetensors file"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return Egret's header, empty in a foreign file, and the tensors of a safetensors file by name.

    Raises EgretError, saying ``what`` the file was wanted for and which ``kind`` it must be, if it is missing
    or another.
    """
    with reading(what, path, kind):
        with opened(path, TENSORS_BYTES_MAX) as source:
            metadata, entries = read_header(source, ALL_TYPES)
            header = egret_header(metadata)
            body = source.rest()
    tensors = {}
    for name, entry in entries.items():
        dtype = _DTYPES[entry.dtype]
        if entry.count:
            flat = torch.frombuffer(body, dtype=dtype, count=entry.count, offset=entry.start)
            tensors[name] = flat.clone().reshape(entry.shape)
        else:
            tensors[name] = torch.empty(entry.shape, dtype=dtype)
    return header, tensors


def check_finite(what: str, tensors: dict[str, Tensor]) -> None:
    """Raise EgretError, naming the first one, if a tensor holds NaN or an infinity."""
    for name, value in tensors.items():
        if not value.is_floating_point():
            continue
        if not torch.isfinite(value.float() if value.dtype.itemsize == 1 else value).all():
            raise EgretError(f"{shown(name)} of {what} must hold finite numbers only")


def misfit(network: nn.Module, tensors: dict[str, Tensor]) -> str | None:
    """Say what keeps tensors from being a network's parameters, None if nothing does."""
    wanted = network.state_dict()
    if missing := sorted(wanted.keys() - tensors.keys()):
        return f"{brief(missing[0])} is missing"
    if more := sorted(tensors.keys() - wanted.keys()):
        return f"it has no {brief(more[0])}"
    for name, value in wanted.items():
        found = tensors[name]
        if found.shape != value.shape:
            return f"{name} must be of shape {tuple(value.shape)}, not {tuple(found.shape)}"
        if not found.is_floating_point():
            return f"{name} must hold floating point numbers, not {found.dtype}"
    return None
