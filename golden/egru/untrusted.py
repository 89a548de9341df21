"""What comes from outside: the one way to read a stranger's file, and the one way to parse its JSON.

Nothing there is trusted. A file's type and size are looked at before a byte of it is read, and never more is
read than its format allows. JSON is parsed within fixed bounds, which do not depend on Python's settings.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from egru.errors import EgretError

#: Bytes of the largest file of tensors: a network image, a checkpoint, a state dict.
TENSORS_BYTES_MAX = 1 << 32
#: Bytes of the largest JSON file.
JSON_BYTES_MAX = 1 << 26
#: Bytes of the largest text that a task is made of.
TEXT_BYTES_MAX = 1 << 30
#: Levels of objects and lists in a JSON text, the outermost counted.
JSON_DEPTH_MAX = 64
#: Digits of an integer in a JSON text. Python itself reads no more unless it is told to.
JSON_DIGITS_MAX = 4300

#: A JSON string, or the rest of a text whose last string is never closed: so it matches at every quote, and
#: takes time that grows with the text alone.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")
_SHOWN_MAX = 300


class UnreadableError(EgretError):
    """A file that cannot be read: the message is the reason alone, without the file's name."""


class MissingError(UnreadableError):
    """There is no such file."""


class JSONError(EgretError):
    """A text that is not JSON, or that leaves the bounds of this module."""


class _Brief(reprlib.Repr):
    """`repr`, cut to a readable length; it never fails and never has a second line."""

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 1000:  # Python refuses to write the longest ones
            return f"about {'-' if value < 0 else ''}10^{int(value.bit_length() * math.log10(2))}"
        return super().repr_int(value, level)


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = 60


def brief(value: object) -> str:
    """Show a value from outside, cut to a readable length, on one line."""
    return " ".join(_BRIEF.repr(value).split())


def shown(name: object) -> str:
    """Show a path or a name in a message: as it is, or quoted where it holds what cannot be printed."""
    text = str(name) if isinstance(name, str | os.PathLike) else brief(name)
    text = text if text.isprintable() else repr(text)
    half = _SHOWN_MAX // 2
    return text if len(text) <= _SHOWN_MAX else f"{text[:half]}...{text[-half:]}"


class Source:
    """An open regular file, read from its start to its end and no further."""

    def __init__(self, file: FileIO, size: int) -> None:
        self._file = file
        self.size = size  #: bytes

    def read(self, count: int) -> bytearray:
        """Return the next ``count`` bytes, which the file must have."""
        try:
            data = bytearray(count)
            view, filled = memoryview(data), 0
            while filled < count:
                got = self._file.readinto(view[filled:])
                if not got:
                    raise UnreadableError("it became shorter while it was read")
                filled += got
        except OSError as error:
            raise UnreadableError(error.strerror or "the system gives no reason") from None
        except MemoryError:
            raise UnreadableError(f"there is no memory for its {self.size} bytes") from None
        return data

    def rest(self) -> bytearray:
        """Return everything that has not been read yet; the file must end where it ended at first."""
        data = self.read(self.size - self._file.tell())
        if self._file.read(1):
            raise UnreadableError(f"it has more than the {self.size} bytes that it had at first")
        return data


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], limit: int) -> Iterator[Source]:
    """Open a stranger's file of at most ``limit`` bytes, without ever waiting for anything.

    Raises
    ------
    UnreadableError
        If there is no such file (then `MissingError`), if it is anything but a regular file, if it is too
        large or may not be read; and from `Source`, if it changes its size while it is read.
    """
    descriptor = _descriptor(path)
    try:
        status = os.fstat(descriptor)
        _check_regular(status.st_mode)
        if status.st_size > limit:
            raise UnreadableError(f"it has {status.st_size} bytes, and may have at most {limit}")
        yield Source(FileIO(descriptor, closefd=False), status.st_size)
    finally:
        os.close(descriptor)


def _descriptor(path: str | os.PathLike[str]) -> int:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise UnreadableError(f"a path must be a text or a Path, not {brief(path)}")
    try:
        # Opening a FIFO would wait for whoever writes to it, and a terminal would become ours.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingError(error.strerror) from None
    except OSError as error:
        with contextlib.suppress(OSError):
            _check_regular(os.stat(path).st_mode)  # a socket cannot even be opened
        raise UnreadableError(error.strerror or "the system gives no reason") from None
    except ValueError:
        raise UnreadableError("no path can hold a NUL or half a character, and this one does") from None


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "a directory",
            stat.S_IFIFO: "a FIFO",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
        }
        raise UnreadableError(
            f"it is {kinds.get(stat.S_IFMT(mode), 'something special')}, not a regular file"
        )


def read_file(path: str | os.PathLike[str], limit: int) -> bytearray:
    """Return all bytes of a stranger's file; see `opened` for what is refused."""
    with opened(path, limit) as source:
        return source.rest()


def strict_json(text: str | bytes | bytearray, depth: int = JSON_DEPTH_MAX, *, halves: bool = False) -> Any:
    """Parse JSON, and refuse what the JSON standard leaves open.

    Refused are bytes that are not UTF-8, a byte order mark, duplicate keys, NaN, infinities (also as 1e999),
    halves of surrogate pairs (unless ``halves``), more than ``depth`` levels of objects and lists, and
    integers of more than `JSON_DIGITS_MAX` digits.

    Raises
    ------
    JSONError
        With the reason, as one line.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            raise JSONError("not valid JSON: an object has a key twice")
        return result

    def constant(name: str) -> Any:
        raise JSONError(f"not valid JSON: {name} is not a JSON number")

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > JSON_DIGITS_MAX:
            raise JSONError(
                f"not valid JSON: an integer has {len(digits)} digits, more than {JSON_DIGITS_MAX}"
            )
        try:
            return int(digits)
        except ValueError:  # Python was told to read even less
            raise JSONError(f"not valid JSON: an integer of {len(digits)} digits is too long") from None

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise JSONError(f"not valid JSON: {brief(digits).strip(chr(39))} is too large for a number")
        return value

    if isinstance(text, bytes | bytearray):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise JSONError(f"not valid JSON: byte {error.start} is not UTF-8") from None
    _check_depth(text, depth)
    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_float=real, parse_int=integer
        )
    except json.JSONDecodeError as error:
        raise JSONError(
            f"not valid JSON: it cannot be read on from line {error.lineno}, column {error.colno}"
        ) from None
    try:
        if not text.isascii():
            text.encode("utf-8")
        if not halves and ("\\ud" in text or "\\uD" in text):  # an escape may be half a pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise JSONError("not valid JSON: a text holds half a surrogate pair") from None
    return value


def _check_depth(text: str, limit: int) -> None:
    """Refuse a text that is nested too deeply, before a parser goes down into it."""
    if text.count("[") + text.count("{") <= limit:
        return
    brackets = _NOT_BRACKETS.sub("", _STRING.sub("", text)).encode()
    steps = np.frombuffer(brackets.translate(bytes.maketrans(b"[{]}", b"\1\1\xff\xff")), np.int8)
    if len(steps) and np.cumsum(steps, dtype=np.int64).max() > limit:
        raise JSONError(f"not valid JSON: it is nested too deeply, more than {limit} levels")


def read_json(path: str | Path, limit: int = JSON_BYTES_MAX) -> Any:
    """Read a stranger's JSON file; raises `UnreadableError` or `JSONError`, without the file's name."""
    return strict_json(read_file(path, limit))
