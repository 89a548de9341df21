"""Whole numbers in texts: the digits 0 to 9 and a sign, where Python would take more."""

from __future__ import annotations

import re

from egru.errors import EgretError

_WHOLE = re.compile(r" *-?[0-9]{1,4000} *")  # Python refuses to read more


def whole(text: str) -> int:
    """Return the number that a text is; ValueError if it is none in the digits 0 to 9."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Return the numbers of a text with commas between them; EgretError, naming the option, if it is none."""
    try:
        return tuple(whole(part) for part in text.split(","))
    except ValueError:
        raise EgretError(
            f"{name} must be a number, or numbers with commas between them, not {text!r}"
        ) from None
