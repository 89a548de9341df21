"""Reading the tensors of a file of torch.save without torch's own reader, which knows no bounds.

Both of its forms are read, the archive of today and the stream of pickles before it. Values that are no
tensors and no mappings of them become None. No name in the file is ever looked up: see
:mod:`egret.tasks.pickles`.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egret.tasks.pickles import FAULTS, ForbiddenError, Whitelist, unpickle
from egru.container import ContainerError
from egru.untrusted import brief

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # with which the older form begins


class TorchFileError(ContainerError):
    """Bytes that are no whole file of torch.save; the message is the reason alone."""


@dataclass(frozen=True, eq=False)
class _Storage:
    """Numbers in a row, by the key under which the file keeps them."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class Odd:
    """A tensor that is not a plain dense one."""


@dataclass(frozen=True, eq=False)
class _View:
    """A tensor before its storage is read."""

    storage: Any
    offset: Any
    shape: Any
    stride: Any
    dtype: torch.dtype | None = None


def _view(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(storage, offset, shape, stride)


def _view_of_type(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> _View:
    return _View(storage, offset, shape, stride, rest[2])


def _odd(*_: Any) -> Odd:
    return Odd()


def _first(value: Any, *_: Any) -> Any:
    return value


def _nothing(*_: Any) -> None:
    return None


def _mapping(*arguments: Any) -> Any:
    """An ordered mapping, empty or of a list of pairs, which is used up: no pair is copied twice."""
    found: OrderedDict[str, Any] = OrderedDict()
    for pair in arguments[0] if arguments and isinstance(arguments[0], list) else ():
        key, value = pair
        if type(key) is not str:
            raise ForbiddenError("it has a key that is no text")
        found[key] = value
    if found:
        arguments[0].clear()
    return found


_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64"),
        *("complex128", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"),
    )
    if hasattr(torch, name)
}
_STORAGES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "UntypedStorage": torch.uint8},
    **{"ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128},
}
_ODD = ("sparse_tensor", "sparse_csr_tensor", "qtensor", "meta_tensor_no_storage", "nested_tensor")
_ALLOWED: Whitelist = {
    ("collections", "OrderedDict"): _mapping,
    ("collections", "Counter"): _nothing,
    ("_codecs", "encode"): _nothing,
    ("torch", "Size"): _first,
    ("torch", "device"): _nothing,
    ("torch.serialization", "_get_layout"): _nothing,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    ("torch._utils", "_rebuild_tensor"): _view,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_tensor_v3"): _view_of_type,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    **{("torch._utils", f"_rebuild_{name}"): _odd for name in _ODD},
    **{("torch", name): dtype for name, dtype in (_DTYPES | _STORAGES).items()},
    **{(module, name): _nothing for module in ("builtins", "__builtin__")
       for name in ("set", "bytearray", "complex")},
}  # fmt: skip


def _storage(pid: Any) -> _Storage:
    kind, dtype, key, _place, count = pid[:5]
    good = kind == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str)
    if not good or type(count) is not int or count < 0:
        raise TorchFileError("it refers to something that is no storage")
    if len(pid) > 5 and pid[5] is not None:
        raise TorchFileError("it has a storage that is a part of another one")
    return _Storage(dtype, key, count)


def read_torch(data: bytes | bytearray) -> Any:
    """Return what a file of torch.save holds: a tensor, or mappings of tensors; `Odd` for other tensors.

    Raises
    ------
    ForbiddenError
        If it holds more than tensors and plain values.
    TorchFileError
        If it is damaged, compressed, or asks for more memory than it has bytes.
    """
    try:
        found, records = (_archive if data[:2] == b"PK" else _stream)(data)
        return _Builder(records, len(data)).built(found)
    except ForbiddenError:
        raise
    except TorchFileError:
        raise
    except (pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError, RuntimeError, *FAULTS):
        raise TorchFileError("it is damaged") from None


def _archive(data: bytes | bytearray) -> tuple[Any, Mapping[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members: dict[str, bytes] = {}
        left = len(data)
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise TorchFileError("it is compressed, and torch.save compresses nothing")
            left -= info.file_size
            if left < 0:
                raise TorchFileError("its parts lie over each other")
            members[info.filename] = archive.read(info)
    folders = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise TorchFileError("it must hold one data.pkl, as torch.save writes it")
    if members.get(f"{folders[0]}byteorder", b"little") != b"little":
        raise TorchFileError("its numbers must be little-endian")
    prefix = f"{folders[0]}data/"
    records = {k.removeprefix(prefix): v for k, v in members.items() if k.startswith(prefix)}
    return unpickle(members[f"{folders[0]}data.pkl"], _ALLOWED, _storage), records


def _stream(data: bytes | bytearray) -> tuple[Any, Mapping[str, Any]]:
    storages: dict[str, _Storage] = {}

    def noted(pid: Any) -> _Storage:
        storage = _storage(pid)
        return storages.setdefault(storage.key, storage)

    file = io.BytesIO(data)
    if unpickle(file, _ALLOWED) != _MAGIC or unpickle(file, _ALLOWED) != _PROTOCOL:
        raise TorchFileError("it does not begin like a file of torch.save")
    system = unpickle(file, _ALLOWED)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise TorchFileError("its numbers must be little-endian")
    found, keys = unpickle(file, _ALLOWED, noted), unpickle(file, _ALLOWED)
    records: dict[str, bytes] = {}
    for key in keys:
        storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise TorchFileError(f"storage {brief(key)} must have the length that its tensors say")
        records[key] = file.read(storage.count * storage.dtype.itemsize)
    return found, records


class _Builder:
    """Makes tensors of views; all of them together may be no more than the file has bytes.

    Tied tensors share their storage, and count as often as they are there.
    """

    TIED = 16  #: how many times the file's bytes all tensors may have

    def __init__(self, records: Mapping[str, Any], size: int) -> None:
        self.records = records
        self.left = self.TIED * size
        self.storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def built(self, found: Any, depth: int = 0) -> Any:
        """Return a value in which views became tensors, to the depth at which state dicts stand."""
        if isinstance(found, _View):
            return self.tensor(found)
        if isinstance(found, Mapping) and depth < 2:
            return {k: self.built(v, depth + 1) for k, v in found.items() if isinstance(k, str)}
        return found if isinstance(found, Odd) else None

    def tensor(self, view: _View) -> Tensor:
        storage, shape, stride = view.storage, view.shape, view.stride
        if isinstance(view.dtype, torch.dtype) and isinstance(storage, _Storage):
            storage = _Storage(view.dtype, storage.key, storage.count // view.dtype.itemsize)
        plain = isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)
        if not plain or len(shape) != len(stride) or len(shape) > 8:
            raise TorchFileError("it has a tensor without a storage, a shape and strides")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in (view.offset, *shape, *stride)):
            raise TorchFileError("it has a tensor whose place is not given by numbers")
        count = math.prod(shape)
        last = view.offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if count > storage.count or (count and last >= storage.count):
            raise TorchFileError("it has a tensor that is larger than its storage")
        self.left -= count * storage.dtype.itemsize
        if self.left < 0:
            raise TorchFileError("its tensors take much more than its bytes")
        return self.numbers(storage).as_strided(shape, stride, view.offset)

    def numbers(self, storage: _Storage) -> Tensor:
        name = (storage.key, storage.dtype)
        if name not in self.storages:
            record = self.records[storage.key]
            if len(record) != storage.count * storage.dtype.itemsize:
                raise TorchFileError(
                    f"storage {brief(storage.key)} must have the length that is given for it"
                )
            self.storages[name] = (
                torch.frombuffer(bytearray(record), dtype=storage.dtype)
                if record
                else torch.empty(0, dtype=storage.dtype)
            )
        return self.storages[name]
