"""Strict reading and atomic writing of safetensors files that hold small integers.

A file is 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes. The header
gives every tensor a type, a shape and its place in the bytes that follow; ``__metadata__`` maps strings to
strings. Format: https://github.com/safetensors/safetensors, section "Format".

Nothing in a file is trusted: sizes are compared with the bytes that are there before anything is allocated,
and whatever the format does not allow is refused.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from egru.errors import EgretError
from egru.writing import write_whole

#: The types that a network image uses, by their name in a file.
DTYPES: dict[str, np.dtype] = {"I8": np.dtype("<i1"), "I16": np.dtype("<i2"), "I32": np.dtype("<i4")}

_HEADER_BYTES_MAX = 1 << 20
_DIMENSIONS_MAX = 4
_ALIGNMENT_BYTES = 8

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60


class ContainerError(EgretError):
    """A file that is not a whole, well-formed safetensors file of integers."""


def strict_json(text: str | bytes):
    """Parse JSON, and refuse what the JSON standard leaves open.

    Refused are duplicate keys, NaN, infinities (also as 1e999), nesting too deep and integers too long.

    Raises
    ------
    ContainerError
        With the reason, as one line.
    """

    def pairs(items):
        result = dict(items)
        if len(result) != len(items):
            raise ValueError("an object has a key twice")
        return result

    def constant(name):
        raise ValueError(f"{name} is not a JSON number")

    def real(digits):
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{digits} is too large for a number")
        return value

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=real)
    except RecursionError:
        raise ContainerError("the JSON text is nested too deeply") from None
    except ValueError as error:
        raise ContainerError(f"not valid JSON: {' '.join(str(error).split())}") from None


def read(path: str | Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Read metadata and tensors of a file; every byte of it must be accounted for.

    Raises
    ------
    ContainerError
        If the file cannot be read, is truncated, has bytes too many, or its header breaks a rule.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ContainerError(f"cannot be read: {error.strerror or error}") from None
    if len(data) < 8:
        raise ContainerError(f"the file has {len(data)} bytes, and a header length alone takes 8")
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER_BYTES_MAX:
        raise ContainerError(f"the header length is {length} bytes, more than {_HEADER_BYTES_MAX}")
    if length > len(data) - 8:
        raise ContainerError(f"the header length is {length} bytes, but only {len(data) - 8} follow")
    header = strict_json(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ContainerError("the header must be a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ContainerError("__metadata__ must be an object of strings")
    return metadata, _tensors(header, memoryview(data)[8 + length :])


def _tensors(header: dict, body: memoryview) -> dict[str, np.ndarray]:
    spans: list[tuple[int, int]] = []
    tensors: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ContainerError(f"tensor {brief(name)} must have exactly dtype, shape and data_offsets")
        dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise ContainerError(
                f"dtype of tensor {brief(name)} must be one of {', '.join(DTYPES)}, "
                f"not {brief(entry['dtype'])}"
            )
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not _naturals(shape, 1) or len(shape) > _DIMENSIONS_MAX:
            raise ContainerError(
                f"shape of tensor {brief(name)} must be a list of at most {_DIMENSIONS_MAX} integers >= 1, "
                f"not {brief(shape)}"
            )
        if not _naturals(offsets, 0) or len(offsets) != 2:
            raise ContainerError(
                f"data_offsets of tensor {brief(name)} must be two integers >= 0, not {brief(offsets)}"
            )
        start, stop = offsets
        size = math.prod(shape) * dtype.itemsize
        if stop - start != size or stop > len(body):
            raise ContainerError(
                f"tensor {brief(name)} of {brief(size)} bytes cannot be at {brief(start)}..{brief(stop)} "
                f"of {len(body)} bytes of data"
            )
        spans.append((start, stop))
        values: np.ndarray = np.frombuffer(body, dtype, count=math.prod(shape), offset=start)
        tensors[name] = values.reshape(shape)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ContainerError(f"tensors overlap or leave a hole at byte {min(start, end)} of the data")
        end = stop
    if end != len(body):
        raise ContainerError(f"the file has {len(body) - end} bytes after the last tensor")
    return tensors


def _naturals(value, low: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= low for item in value)


def brief(value) -> str:
    """Show a value that a file holds, cut to a readable length."""
    return _BRIEF.repr(value)


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
    if len(text) > _HEADER_BYTES_MAX:
        raise ContainerError(f"the header would have {len(text)} bytes, more than {_HEADER_BYTES_MAX}")
    write_whole(path, b"".join([len(text).to_bytes(8, "little"), text, *chunks]))
