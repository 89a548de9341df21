"""Settings of a recipe as text, ``name=value``: read from a command line, and printed in a record."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from typing import Any

from egret.numerals import whole
from egru.errors import EgretError

from .recipes import Recipe


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _integers(text: str) -> tuple[int, ...]:
    return tuple(whole(part) for part in text.split(",")) if text else ()


#: By a field's type: how its text is read, and what to call it in a message.
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "an integer"),
    "float": (float, "a number"),
    "str": (str, "a word"),
    "bool": (_boolean, "true or false"),
    "tuple[int, ...]": (_integers, "integers with commas between them"),
}


def parse(settings: Iterable[str]) -> dict[str, Any]:
    """Read settings ``name=value``; raises EgretError for an unknown or repeated name or a wrong type."""
    types = {f.name: str(f.type) for f in dataclasses.fields(Recipe)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise EgretError(f"a setting must be name=value, not {setting!r}")
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            hint = f"did you mean {near[0]}?" if near else f"it must be one of {', '.join(types)}"
            raise EgretError(f"a recipe has no setting {name!r}: {hint}")
        if name in values:
            raise EgretError(f"setting {name} must be given once, not twice")
        read, kind = _READERS[types[name]]
        try:
            values[name] = read(text)
        except (ValueError, KeyError):
            raise EgretError(f"setting {name} must be {kind}, not {text!r}") from None
    return values


def changed(recipe: Recipe, settings: Iterable[str], **options: Any) -> Recipe:
    """Return the recipe with ``settings`` and ``options`` made (those that are not None).

    Raises EgretError where :func:`parse` or the recipe refuses a value, and for a value that is given in both
    ways.
    """
    values = parse(settings)
    for name, value in options.items():
        if value is not None:
            if name in values:
                raise EgretError(f"{name} must be given as --{name} or as --set {name}=, not both")
            values[name] = value
    return recipe.but(**values)


def text_of(value: Any) -> str:
    """Return a value's text, which :func:`parse` reads back to the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def differences(recipe: Recipe, base: Recipe, options: Iterable[str] = ()) -> list[str]:
    """Return the command-line words that make ``base`` into ``recipe``.

    The fields in ``options`` are given as options of their own (``--units 32``), the others as settings.
    """
    words: list[str] = []
    options = tuple(options)
    others = [f.name for f in dataclasses.fields(Recipe) if f.name not in options]
    for name in (*options, *others):
        value = getattr(recipe, name)
        if value != getattr(base, name):
            text = text_of(value)
            words += [f"--{name}", text] if name in options else ["--set", f"{name}={text}"]
    return words
