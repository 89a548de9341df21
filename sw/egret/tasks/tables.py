"""Read tables out of a pickle of pandas frames without pandas, and without running anything of the file.

A pickle is a program: it may call whatever it can name. This reader resolves only the few names below, to
classes and functions of its own or of numpy's array format, and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from egru.errors import EgretError

Table = Mapping[str, np.ndarray]  #: columns by name, all of one length


class _Frame:
    """What the pickle calls a DataFrame: holds the state, has no behaviour."""

    blocks: Any = None

    def __setstate__(self, state: Any) -> None:
        self.blocks = state.get("_data", state.get("_mgr")) if isinstance(state, dict) else None


class _Blocks:
    """What the pickle calls a BlockManager."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Index:
    """What the pickle calls an Index; only its labels matter."""


def _new_index(_cls: type, state: dict) -> list[str]:
    data = state.get("data", ())
    return [str(label) for label in data]


def _reconstruct(cls: type, _base: type, _state: Any) -> Any:
    if cls not in (_Frame, _Blocks):
        raise pickle.UnpicklingError(f"it reconstructs {cls!r}")
    return cls()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding!r}")
    return text.encode("latin1")


def _array(cls: type, _shape: tuple, _typecode: bytes) -> np.ndarray:
    if cls is not np.ndarray:
        raise pickle.UnpicklingError(f"it makes an array of {cls!r}")
    return np.ndarray((0,), np.int8)  # its state, which follows, sets shape, type and contents


_ALLOWED: dict[tuple[str, str], Callable | type] = {
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def _columns(frame: Any) -> dict[str, np.ndarray]:
    _axes, values, items, *_ = frame.blocks.state
    columns: dict[str, np.ndarray] = {}
    for names, block in zip(items, values, strict=True):
        if not isinstance(block, np.ndarray) or block.ndim != 2 or block.dtype.kind not in "fiu":
            raise ValueError("a block is not a two-dimensional array of numbers")
        columns.update(zip(names, block, strict=True))
    return columns


def read_tables(data: bytes) -> dict[int, list[Table]]:
    """Return the tables by subject from ``{subject: [frame, ...]}``.

    Raises EgretError for a pickle that names anything outside the whitelist, or that is not such a
    dictionary of frames.
    """
    try:
        content = _Reader(io.BytesIO(data)).load()
        return {int(key): [_columns(frame) for frame in frames] for key, frames in content.items()}
    except pickle.UnpicklingError as error:
        raise EgretError(f"refused the recordings' pickle: {error}; only plain tables are read") from error
    except (AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise EgretError(
            f"the recordings' pickle must be a dictionary of tables by subject: {error}"
        ) from error
