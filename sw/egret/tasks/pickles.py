"""Read a pickle of numpy arrays and plain containers without running anything of the file.

A pickle is a program: it may call whatever it can name. This reader resolves only the names of a whitelist,
to classes of numpy's array format and to functions of its own, and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Whitelist = Mapping[tuple[str, str], Callable | type]  #: what a module and a name in it stand for

FAULTS = (AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError, OverflowError)
"""What reading a damaged pickle may raise, besides UnpicklingError."""


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {encoding!r}")
    return text.encode("latin1")


def _array(cls: type, _shape: tuple, _typecode: bytes) -> np.ndarray:
    if cls is not np.ndarray:
        raise pickle.UnpicklingError(f"it makes an array of {cls!r}")
    return np.ndarray((0,), np.int8)  # its state, which follows, sets shape, type and contents


ARRAYS: Whitelist = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}  #: what arrays need


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: Whitelist) -> None:
        super().__init__(io.BytesIO(data))
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def unpickle(data: bytes, allowed: Whitelist = ARRAYS) -> Any:
    """Return what a pickle holds.

    Raises pickle.UnpicklingError for a name outside the whitelist, and that or one of FAULTS for a damaged
    pickle.
    """
    return _Reader(data, allowed).load()
