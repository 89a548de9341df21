"""Cover points of what was played: forms of the accelerator, weights that were loaded, and resets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from egret_hw.protection import PARITY

from .case import Case
from .forms import Start
from .script import RESET, Record

RUN_POINTS = [
    "compact form",
    "compact form, weights loaded",
    "compact form, several streams",
    "parity watches",
    "weights loaded",
    "weights loaded again after a reset",
    "weights loaded again without a reset",
    "weights kept through a reset",
    "reset in mid-sequence",
]


def count_run(case: Case, begins: Sequence[Start], records: Sequence[Record]) -> Counter[str]:
    """In how many phases each of :data:`RUN_POINTS` came up."""
    config = case.config.resolve(case.image)
    found: Counter[str] = Counter()
    for number, (phase, begin, record) in enumerate(zip(case.phases, begins, records, strict=True)):
        again = number > 0 and bool(begin.contents)
        there = {
            "compact form": config.compact,
            "compact form, weights loaded": config.compact and config.loaded,
            "compact form, several streams": config.compact and config.streams > 1,
            "parity watches": config.protection == PARITY,
            "weights loaded": bool(begin.contents),
            "weights loaded again after a reset": again and begin.fresh,
            "weights loaded again without a reset": again and not begin.fresh,
            "weights kept through a reset": config.loaded and begin.fresh and not begin.contents,
            "reset in mid-sequence": record.status == RESET and record.ends < len(phase.sequences),
        }
        found.update({name: int(hit) for name, hit in there.items()})
    return found
