"""Files that are the old ones or the new ones, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egru.errors import EgretError


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and move it there, so that no half-written file is ever seen."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(data)
                file.close()
                os.chmod(file.name, 0o644)
                os.replace(file.name, path)
            except BaseException:  # an interrupt, too
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise EgretError(f"output {path} must be writable: {error}") from error


def header_of(path: Path) -> dict[str, Any]:
    """Return the header that Egret puts into its files, whose ``format`` tells images and checkpoints apart.

    Raises EgretError for a missing file and one that is not safetensors; of a foreign one it is empty.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise EgretError(f"network {path} must be an existing file")
    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {}).get("egret", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise EgretError(f"network {path} must be a safetensors file of Egret: {error}") from error
    return header if isinstance(header, dict) else {}


def as_json(figures: Any, indent: int = 2) -> bytes:
    """Return figures as the bytes of a JSON file."""
    return (json.dumps(figures, indent=indent) + "\n").encode()


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, unless it is there; raises EgretError if that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EgretError(f"directory {directory} cannot be written: {error.strerror}") from None


def write_report(path: Path, figures: Any) -> None:
    """Write figures as JSON; the directories above ``path`` are made."""
    make_directory(path.parent)
    write_whole(path, as_json(figures))


def write_pages(directory: Path, pages: Mapping[str, str | bytes]) -> None:
    """Write files by name into a directory, which is made; texts in UTF-8, each complete or not at all."""
    make_directory(directory)
    for name, page in pages.items():
        write_whole(directory / name, page.encode() if isinstance(page, str) else page)
