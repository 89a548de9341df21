"""Files of figures, and what kind of file one is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from egru.container import ALL_TYPES, ContainerError, read_header
from egru.errors import EgretError
from egru.untrusted import (
    TENSORS_BYTES_MAX,
    JSONError,
    UnreadableError,
    opened,
    read_json,
    shown,
    strict_json,
)
from egru.writing import make_directory, write_pages, write_whole

__all__ = ["as_json", "header_of", "make_directory", "write_pages", "write_report", "write_whole"]


@contextmanager
def reading(what: str, path: Path, kind: str) -> Iterator[None]:
    """Name the file in the errors of what is read from it: ``what`` it is for, and the ``kind`` it must be.

    Raises EgretError, in place of those of :mod:`egru.untrusted` and :mod:`egru.container`.
    """
    try:
        yield
    except UnreadableError as error:
        raise EgretError(f"{what} {shown(path)} must be an existing file: {error}") from None
    except (JSONError, ContainerError) as error:
        raise EgretError(f"{what} {shown(path)} must be {kind}: {error}") from None


def read_report(path: Path) -> Any:
    """Read figures that `write_report` wrote, or somebody else; raises EgretError if they are no JSON."""
    try:
        return read_json(path)
    except (UnreadableError, JSONError) as error:
        raise EgretError(f"{shown(path)} cannot be read as a report: {error}") from None


def header_of(path: Path) -> dict[str, Any]:
    """Return the header that Egret puts into its files, whose ``format`` tells images and checkpoints apart.

    Raises EgretError for a missing file and one that is not safetensors; of a foreign one it is empty.
    """
    with reading("network", path, "a safetensors file of Egret"):
        with opened(path, TENSORS_BYTES_MAX) as source:
            return egret_header(read_header(source, ALL_TYPES)[0])


def egret_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return Egret's own entry of a safetensors file's metadata, empty where there is none."""
    header = strict_json(metadata.get("egret", "null"))
    return header if isinstance(header, dict) else {}


def as_json(figures: Any, indent: int = 2) -> bytes:
    """Return figures as the bytes of a JSON file."""
    return (json.dumps(figures, indent=indent) + "\n").encode()


def write_report(path: Path, figures: Any) -> None:
    """Write figures as JSON; the directories above ``path`` are made."""
    write_whole(path, as_json(figures))
