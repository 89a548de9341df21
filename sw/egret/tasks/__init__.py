"""Tasks with real data: labelled sequences, and texts.

>>> task = load("digits")
>>> x, lengths = task.test.padded()
>>> text = load_text("ptb-char")
>>> columns = text.columns("train", 32)

Data is fetched once, checked, and kept in a cache (``$EGRET_CACHE``, else the user's cache directory).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from egru.errors import EgretError

from . import digits, dvs, gestures, har, mnist, treebank
from .archive import Archive, cache_directory
from .task import Normalisation, Sequences, Task, check_split
from .text import Text

__all__ = [
    "ARCHIVES",
    "NAMES",
    "TEXT_NAMES",
    "Normalisation",
    "Sequences",
    "Task",
    "Text",
    "cache_directory",
    "check_name",
    "check_split",
    "check_text_name",
    "is_text",
    "load",
    "load_text",
]

_LOADERS: dict[str, Callable[[], Task]] = {
    "digits": digits.load,
    "har": har.load,
    "gestures": gestures.load,
    "smnist-row": mnist.load_rows,
    "smnist": mnist.load_pixels,
    "psmnist": mnist.load_permuted,
    "dvs-gesture": dvs.load,
}

_TEXT_LOADERS: dict[str, Callable[[], Text]] = {
    "ptb-char": treebank.load_characters,
    "ptb-word": treebank.load_words,
}

NAMES = tuple(_LOADERS)  #: the tasks with labelled sequences
TEXT_NAMES = tuple(_TEXT_LOADERS)  #: the tasks with texts

ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        "digits": digits.ARCHIVE,
        "har": har.ARCHIVE,
        "gestures": gestures.ARCHIVE,
        "smnist-row": mnist.ARCHIVE,
        "smnist": mnist.ARCHIVE,
        "psmnist": mnist.ARCHIVE,
        "ptb-char": treebank.ARCHIVE,
        "ptb-word": treebank.ARCHIVE,
    }
)  #: where each task's data comes from; that of dvs-gesture is fetched by tonic


def is_text(name: str) -> bool:
    """Whether a task is a text; raises EgretError, listing all tasks, if none is called so."""
    if name not in NAMES + TEXT_NAMES:
        raise EgretError(f"task must be one of {', '.join(NAMES + TEXT_NAMES)}, not {name!r}")
    return name in TEXT_NAMES


def check_name(name: str) -> str:
    """Return ``name`` if a task with labelled sequences is called so, else raise EgretError."""
    if is_text(name):
        raise EgretError(
            f"task {name} is a text, and labelled sequences are needed here: choose one of {', '.join(NAMES)}"
        )
    return name


def check_text_name(name: str) -> str:
    """Return ``name`` if a text is called so, else raise EgretError."""
    if not is_text(name):
        raise EgretError(f"task {name} is not a text: choose one of {', '.join(TEXT_NAMES)}")
    return name


def load(name: str) -> Task:
    """Load a task with labelled sequences, fetching its data if the cache lacks it.

    Raises EgretError for an unknown name, for data that fails its checksum, and without a network when
    the cache is empty.
    """
    return _LOADERS[check_name(name)]()


def load_text(name: str) -> Text:
    """Load a text, under the same conditions as :func:`load`."""
    return _TEXT_LOADERS[check_text_name(name)]()
