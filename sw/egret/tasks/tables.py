"""Read tables out of a pickle of pandas frames without pandas, and without running anything of the file.

The names of pandas in the pickle stand for the classes and functions below (see :mod:`egret.tasks.pickles`).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from egru.errors import EgretError

from .pickles import ARRAYS, FAULTS, Whitelist, unpickle

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


_ALLOWED: Whitelist = {
    **ARRAYS,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
}


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
        content = unpickle(data, _ALLOWED)
        return {int(key): [_columns(frame) for frame in frames] for key, frames in content.items()}
    except pickle.UnpicklingError as error:
        raise EgretError(f"refused the recordings' pickle: {error}; only plain tables are read") from error
    except FAULTS as error:
        raise EgretError(
            f"the recordings' pickle must be a dictionary of tables by subject: {error}"
        ) from error
