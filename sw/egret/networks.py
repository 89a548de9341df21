"""The networks that Egret ships: trained, quantised images under ``golden/networks``."""

from __future__ import annotations

from pathlib import Path

from egru.errors import EgretError

SUFFIX = ".egret"


def directory() -> Path:
    """Return the directory of the shipped images, in the checkout that this package runs from."""
    return Path(__file__).resolve().parents[2] / "golden" / "networks"


def names() -> tuple[str, ...]:
    """Return the names of the shipped networks, sorted."""
    return tuple(sorted(path.stem for path in directory().glob(f"*{SUFFIX}")))


def shipped(name: str) -> Path:
    """Return the path of a shipped image; raises EgretError, listing the names, if there is none."""
    path = directory() / f"{name}{SUFFIX}"
    if name not in names():
        listed = ", ".join(names()) or f"(none found in {directory()})"
        raise EgretError(f"shipped network must be one of {listed}, not {name!r}")
    return path
