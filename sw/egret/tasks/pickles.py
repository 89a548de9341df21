"""Read a pickle of arrays and plain containers without running anything of the file.

A pickle is a program: it may call whatever it can name. This reader resolves only the names of a whitelist,
to classes of numpy's array format and to functions of its own, and refuses every other name. It is built on
the unpickler in Python: the one in C makes a table of as many gigabytes as a file of ten bytes asks for.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import IO, Any, ClassVar

import numpy as np

from egru.untrusted import brief, shown

Whitelist = Mapping[tuple[str, str], Any]  #: what a module and a name in it stand for

FAULTS = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading a damaged pickle may raise, besides UnpicklingError."""


class ForbiddenError(pickle.UnpicklingError):
    """A pickle that names something outside the whitelist, or asks for what no plain value needs."""


class _NamedArray:
    """What a pickle gets for numpy.ndarray: nothing that it could call."""


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes as {brief(encoding)}")
    return text.encode("latin1")


def _array(cls: type, _shape: tuple, _typecode: bytes) -> np.ndarray:
    if cls is not _NamedArray:
        raise pickle.UnpicklingError(f"it makes an array of {brief(cls)}")
    return np.ndarray((0,), np.int8)  # its state, which follows, sets shape, type and contents


ARRAYS: Whitelist = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _NamedArray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
}  #: what arrays need

_SCALARS = (str, int, float, bool, bytes, type(None))


def _check_key(key: object) -> None:
    """Refuse a key that is nested: to hash one may take all of the C stack."""
    parts = key if type(key) is tuple else (key,)
    if not all(type(part) in _SCALARS for part in parts):
        raise ForbiddenError("it has a key that is no plain value")


_Python: Any = pickle._Unpickler  # its parts are not in the types that Python comes with


class _Reader(_Python):
    """Knows the names of the whitelist, and keys that are plain."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_Python.dispatch)

    def __init__(self, file: IO[bytes], allowed: Whitelist, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(file)
        self.allowed = allowed
        self.persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise ForbiddenError(f"it names {shown(f'{module}.{name}')}") from None

    def persistent_load(self, pid: Any) -> Any:
        if self.persistent is None:
            raise ForbiddenError("it refers to something outside the file")
        return self.persistent(pid)

    def load_setitem(self) -> None:
        _check_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        super().load_setitems()

    def load_dict(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        super().load_dict()

    def load_set(self) -> None:
        raise ForbiddenError("it holds a set")

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        data = bytearray(self.read(length))  # Python's own first makes a place of any length for it
        if len(data) != length:
            raise EOFError
        self.append(data)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.EMPTY_SET[0]] = load_set
    dispatch[pickle.ADDITEMS[0]] = load_set
    dispatch[pickle.FROZENSET[0]] = load_set


def unpickle(
    data: bytes | IO[bytes],
    allowed: Whitelist = ARRAYS,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Return what a pickle holds: bytes, or the next pickle of an open file.

    ``persistent`` resolves what the pickle refers to outside itself.

    Raises pickle.UnpicklingError for a damaged pickle or one of FAULTS, and ForbiddenError for a name outside
    the whitelist.
    """
    return _Reader(io.BytesIO(data) if isinstance(data, bytes) else data, allowed, persistent).load()
