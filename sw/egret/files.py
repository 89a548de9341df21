"""Files of figures, and what kind of file one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from egru.errors import EgretError
from egru.writing import make_directory, write_pages, write_whole

__all__ = ["as_json", "header_of", "make_directory", "write_pages", "write_report", "write_whole"]


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


def write_report(path: Path, figures: Any) -> None:
    """Write figures as JSON; the directories above ``path`` are made."""
    write_whole(path, as_json(figures))
