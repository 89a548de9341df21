"""Strict reading and atomic writing of safetensors files.

A file is 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes. The header
gives every tensor a type, a shape and its place in the bytes that follow; ``__metadata__`` maps strings to
strings. Format: https://github.com/safetensors/safetensors, section "Format".

Nothing in a file is trusted: the header must account for every byte of the file before any tensor is read,
and whatever the format does not allow is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egru.errors import EgretError
from egru.untrusted import TENSORS_BYTES_MAX, Source, brief, strict_json
from egru.writing import write_whole

#: The types that a network image uses, by their name in a file.
DTYPES: dict[str, np.dtype] = {"I8": np.dtype("<i1"), "I16": np.dtype("<i2"), "I32": np.dtype("<i4")}

HEADER_BYTES_MAX = 1 << 24
_ALIGNMENT_BYTES = 8


@dataclass(frozen=True)
class Rules:
    """What a kind of file may hold: types by name with their bytes, dimensions at most, the least length."""

    widths: Mapping[str, int]
    dimensions: int
    least: int


#: Of network images.
INTEGERS = Rules({name: dtype.itemsize for name, dtype in DTYPES.items()}, dimensions=4, least=1)
#: Of any file of tensors, by whatever library.
ALL_TYPES = Rules(
    {
        **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
        **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
        **dict.fromkeys(("U32", "I32", "F32"), 4),
        **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
    },
    dimensions=8,
    least=0,
)


class ContainerError(EgretError):
    """A file that is not a whole, well-formed safetensors file."""


@dataclass(frozen=True)
class Entry:
    """What a header says of a tensor: its type by name, its shape, and the first byte of its data."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


def read_header(source: Source, rules: Rules) -> tuple[dict[str, str], dict[str, Entry]]:
    """Read metadata and entries of a file that keeps the ``rules``.

    After it ``source.rest()`` is the tensors' data: every byte of it belongs to exactly one tensor.

    Raises
    ------
    ContainerError, JSONError, UnreadableError
        If the file is truncated, has bytes too many, or its header breaks a rule.
    """
    if source.size < 8:
        raise ContainerError(f"the file has {source.size} bytes, and a header length alone takes 8")
    length, follow = int.from_bytes(source.read(8), "little"), source.size - 8
    if length > HEADER_BYTES_MAX:
        raise ContainerError(f"the header length is {length} bytes, more than {HEADER_BYTES_MAX}")
    if length > follow:
        raise ContainerError(f"the header length is {length} bytes, but only {follow} follow")
    text = source.read(length)
    header = strict_json(text)
    if not isinstance(header, dict):
        raise ContainerError("the header must be a JSON object")
    if not text.startswith(b"{"):
        raise ContainerError("the header must begin with its brace, and white space is before it")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ContainerError("__metadata__ must be an object of strings")
    return metadata, _entries(header, follow - length, rules)


def _entries(header: dict, body: int, rules: Rules) -> dict[str, Entry]:
    spans: list[tuple[int, int]] = []
    entries: dict[str, Entry] = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ContainerError(f"tensor {brief(name)} must have exactly dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in rules.widths:
            raise ContainerError(
                f"dtype of tensor {brief(name)} must be one of {', '.join(rules.widths)}, not {brief(dtype)}"
            )
        if not _naturals(shape, rules.least) or len(shape) > rules.dimensions:
            raise ContainerError(
                f"shape of tensor {brief(name)} must be a list of at most {rules.dimensions} integers "
                f">= {rules.least}, not {brief(shape)}"
            )
        if not _naturals(offsets, 0) or len(offsets) != 2:
            raise ContainerError(
                f"data_offsets of tensor {brief(name)} must be two integers >= 0, not {brief(offsets)}"
            )
        start, stop = offsets
        size = math.prod(shape) * rules.widths[dtype]
        if stop - start != size or stop > body:
            raise ContainerError(
                f"tensor {brief(name)} of {brief(size)} bytes cannot be at {brief(start)}..{brief(stop)} "
                f"of {body} bytes of data"
            )
        spans.append((start, stop))
        entries[name] = Entry(dtype, tuple(shape), start)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ContainerError(f"tensors overlap or leave a hole at byte {min(start, end)} of the data")
        end = stop
    if end != body:
        raise ContainerError(f"the file has {body - end} bytes after the last tensor")
    return entries


def _naturals(value: object, low: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= low for item in value)


def read_arrays(source: Source, entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """Return the tensors of a file of integers whose header was read."""
    body = source.rest()
    return {
        name: np.frombuffer(body, DTYPES[e.dtype], e.count, e.start).reshape(e.shape)
        for name, e in entries.items()
    }


def write(path: str | Path, metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a file in one piece: at any time, ``path`` is the old file or the whole new one.

    The bytes depend on nothing but the arguments: wide types come first, so that all data are aligned.

    Raises
    ------
    ContainerError
        If the header is too long for the format.
    OutputError
        If the file cannot be written.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict = {"__metadata__": dict(metadata)}
    chunks = []
    offset = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        array = np.ascontiguousarray(tensors[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        chunks.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    if len(text) > HEADER_BYTES_MAX:
        raise ContainerError(f"the header would have {len(text)} bytes, more than {HEADER_BYTES_MAX}")
    if 8 + len(text) + offset > TENSORS_BYTES_MAX:
        raise ContainerError(
            f"the file would have {8 + len(text) + offset} bytes, more than {TENSORS_BYTES_MAX}"
        )
    write_whole(path, b"".join([len(text).to_bytes(8, "little"), text, *chunks]))
