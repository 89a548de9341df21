"""Tasks with real data: spoken digits and human activity.

>>> task = load("digits")
>>> x, lengths = task.test.padded()

Data is fetched once, checked, and kept in a cache (``$EGRET_CACHE``, else the user's cache directory).
"""

from __future__ import annotations

from collections.abc import Callable

from egru.errors import EgretError

from . import digits, har
from .archive import cache_directory
from .task import Normalisation, Sequences, Task, check_split

__all__ = [
    "NAMES",
    "Normalisation",
    "Sequences",
    "Task",
    "cache_directory",
    "check_name",
    "check_split",
    "load",
]

_LOADERS: dict[str, Callable[[], Task]] = {"digits": digits.load, "har": har.load}

NAMES = tuple(_LOADERS)


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
