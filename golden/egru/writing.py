"""The one way in which files are written: the old ones or the new ones, never half of either.

A path is a name, and what it names decides:

* a link stays a link: what it leads to is replaced;
* a regular file is replaced in one step, and keeps its permissions and, where that is allowed, its owner; a
  new one gets those that the umask leaves;
* a device or a pipe stays what it is: the bytes go into it (a named pipe must have a reader already);
* anything else (a directory, a socket, a disk) is refused, and so is a file that may not be written;
* folders that are missing are made.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from egru.errors import EgretError

_NAME_BYTES_MAX = 255  # what all usual file systems allow


class OutputError(EgretError):
    """A file that cannot be written."""


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write a file in one piece, texts in UTF-8; an interrupt or a full disk leaves the old one.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    path = check_output(path)
    data = data.encode() if isinstance(data, str) else data
    with _told(f"output {path}"):
        found = _status(path)
        target = Path(os.path.realpath(path))
        if found is None:
            make_directory(target.parent)
            _replace(target, data, None)
        elif stat.S_ISREG(found.st_mode) and _is(target, found):
            _replace(target, data, found)
        else:  # a device, a pipe, or a file without a name, such as behind /dev/stdout
            _pour(path, data)


def write_pages(directory: str | Path, pages: Mapping[str, bytes | str]) -> None:
    """Write files by name into a directory, which is made if need be; each as :func:`write_whole` does."""
    directory = Path(directory)
    make_directory(directory)
    for name, data in pages.items():
        write_whole(directory / name, data)


def check_output(path: str | Path, *inputs: Path | None) -> Path:
    """Return ``path`` if a file can be written there, without a trace of the question.

    Long work asks before it begins. ``inputs`` are files that are read: none of them may be overwritten, by
    whatever name or link.

    Raises
    ------
    OutputError
        If it cannot be written, or is one of ``inputs``.
    """
    path = Path(path)
    with _told(f"output {path}"):
        found = _status(path)
        if found is None:
            _check_parent(path)
            return path
        for given in inputs:
            other = None if given is None else _status(Path(given))
            if other is not None and os.path.samestat(found, other) and not stat.S_ISCHR(found.st_mode):
                raise OutputError(f"output {path} must not be the input {given}: name another file")
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise OutputError(f"output {path} must be a file, and is a directory")
    if kind not in (stat.S_IFREG, stat.S_IFCHR, stat.S_IFIFO):
        raise OutputError(f"output {path} must be a file, a pipe or a character device, and is none of them")
    if not os.access(path, os.W_OK):
        raise OutputError(f"output {path} must be writable, and its permissions forbid it")
    if kind == stat.S_IFREG and _is(target := Path(os.path.realpath(path)), found):
        _check_parent(target)  # it is replaced there
    return path


def check_outputs(paths: Iterable[str | Path], *inputs: Path | None) -> None:
    """Check several files of one command as :func:`check_output` does; they must differ, too."""
    seen: dict[str, Path] = {}
    for path in paths:
        path = check_output(path, *inputs)
        other = seen.setdefault(os.path.realpath(path), path)
        if other is not path and not _is_device(path):
            raise OutputError(f"outputs must be different files, and {other} and {path} are the same")


def check_directory(path: str | Path, names: Iterable[str] = (), inputs: Iterable[Path | None] = ()) -> Path:
    """Return ``path`` if it is a directory, or can be made one, where files ``names`` can be written.

    Raises
    ------
    OutputError
        If that cannot be, or if one of the files is one of ``inputs``.
    """
    path = Path(path)
    with _told(f"output directory {path}"):
        found = _status(path)
        if found is None:
            _check_parent(path)
    if found is None:
        return path
    if not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"output directory {path} must not be a file")
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"output directory {path} must be writable")
    for name in names:
        check_output(path / name, *inputs)
    return path


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file beside another one, of the same name but for the suffix.

    Raises
    ------
    OutputError
        If ``path`` names no file.
    """
    try:
        return path.with_suffix(suffix)
    except ValueError:
        raise OutputError(f"{path} must name a file, or an output must be given") from None


#: What folder names are made of, beside letters and digits of all scripts.
_FOLDER_CHARACTERS = " ._-+,=@()[]"
_FOLDER_BYTES_MAX = 200


def folder_name(name: str, reserved: Iterable[str] = ()) -> str:
    """Return a name for a folder of the thing ``name``, which may come from a file that is not trusted.

    A plain name stands for itself. Of another one, what is not plain is replaced, and a digest of the name is
    appended: no two names share a folder, and none leads elsewhere. ``reserved`` are not plain.
    """
    clean = "".join(c if c.isalnum() or c in _FOLDER_CHARACTERS else "_" for c in name)
    clean = clean.rstrip(" .").lstrip(" .-")
    while len(clean.encode()) > _FOLDER_BYTES_MAX:
        clean = clean[:-1]
    if clean and clean == name and clean not in reserved and not re.search(r"-[0-9a-f]{12}$", clean):
        return clean
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{clean or '_'}-{digest}"


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, unless it is there.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    with _told(f"output directory {directory}"):
        directory.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell what could not be written, and why, in one line."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(f"{what} cannot be written: {reason or error}") from None


def _status(path: Path) -> os.stat_result | None:
    """What a path leads to; None for nothing, which a link can lead to as well."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _is(path: Path, wanted: os.stat_result) -> bool:
    found = _status(path)
    return found is not None and os.path.samestat(found, wanted)


def _is_device(path: Path) -> bool:
    found = _status(path)
    return found is not None and stat.S_ISCHR(found.st_mode)


def _check_parent(path: Path) -> None:
    """Check the nearest folder above a file that is there: in it, others or the file itself are made."""
    path = Path(os.path.realpath(path))
    parent = path.parent
    while (found := _status(parent)) is None and parent != parent.parent:
        parent = parent.parent
    for name in path.relative_to(parent).parts:
        if len(os.fsencode(name)) > _NAME_BYTES_MAX:
            raise OutputError(f"output {path} must have names of at most {_NAME_BYTES_MAX} bytes each")
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"output directory {parent} must be a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"output directory {parent} must be writable")


def _replace(path: Path, data: bytes, old: os.stat_result | None) -> None:
    """Write beside a file, and move it there."""
    partial = path.with_name(f".egret-{secrets.token_hex(8)}.part")  # short, whatever the file's name is
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                with contextlib.suppress(PermissionError):  # the owner is another, and we are not root
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # an interrupt, too
        partial.unlink(missing_ok=True)
        raise


def _pour(path: Path, data: bytes) -> None:
    """Write into what is there. Without O_NONBLOCK, a named pipe that nobody reads would wait for ever."""
    with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), "wb", buffering=0) as file:
        os.set_blocking(file.fileno(), True)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate()
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
