"""Tasks with real data: spoken digits, human activity, exercises, and handwritten digits as sequences.

>>> task = load("digits")
>>> x, lengths = task.test.padded()

Data is fetched once, checked, and kept in a cache (``$EGRET_CACHE``, else the user's cache directory).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from egru.errors import EgretError

from . import digits, gestures, har, mnist
from .archive import Archive, cache_directory
from .task import Normalisation, Sequences, Task, check_split

__all__ = [
    "ARCHIVES",
    "NAMES",
    "Normalisation",
    "Sequences",
    "Task",
    "cache_directory",
    "check_name",
    "check_split",
    "load",
]

_LOADERS: dict[str, Callable[[], Task]] = {
    "digits": digits.load,
    "har": har.load,
    "gestures": gestures.load,
    "smnist-row": mnist.load_rows,
    "smnist": mnist.load_pixels,
    "psmnist": mnist.load_permuted,
}

NAMES = tuple(_LOADERS)

ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        "digits": digits.ARCHIVE,
        "har": har.ARCHIVE,
        "gestures": gestures.ARCHIVE,
        "smnist-row": mnist.ARCHIVE,
        "smnist": mnist.ARCHIVE,
        "psmnist": mnist.ARCHIVE,
    }
)  #: where each task's data comes from


def check_name(name: str) -> str:
    """Return ``name`` if a task is called so, else raise EgretError."""
    if name not in _LOADERS:
        raise EgretError(f"task must be one of {', '.join(NAMES)}, not {name!r}")
    return name


def load(name: str) -> Task:
    """Load a task, fetching its data if the cache lacks it.

    Raises EgretError for an unknown name, for data that fails its checksum, and without a network when
    the cache is empty.
    """
    return _LOADERS[check_name(name)]()
