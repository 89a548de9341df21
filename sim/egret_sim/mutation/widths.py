"""Mutants of widths: each width that the generator works out, a bit too narrow, and what notices it.

A number that is cut shows only where it is at its end. So each mutant is played the fuzzer's networks and
inputs that take sums to their bounds, one accelerator after the other, until one run fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from egret_hw.widths import (
    CANDIDATE,
    CANDIDATE_INPUT,
    CANDIDATE_RECURRENT,
    GATE,
    Bounds,
    LayerWidths,
    R,
    ReadoutWidths,
    Z,
)
from egret_sim.fuzz.case import Case
from egret_sim.fuzz.check import check_case
from egret_sim.fuzz.draw import draw_bounded_case

#: Networks that each mutant is played, at most.
NETWORKS_MAX = 60
#: Networks that are drawn, at most, to find those in which a mutant is narrower.
DRAWS_MAX = 400

_Widths = LayerWidths | ReadoutWidths
_Narrow = Callable[[Any], Any]


def _cut(bounds: Bounds) -> Bounds:
    """The range of a number that is a bit narrower."""
    half = 1 << max(0, bounds.bits - 2)
    return Bounds(-half, half - 1)


def _field(name: str) -> _Narrow:
    return lambda widths: dataclasses.replace(widths, **{name: _cut(getattr(widths, name))})


def _entry(name: str, kind: str) -> _Narrow:
    """One kind of sum or total, in networks that have it."""

    def narrow(widths: LayerWidths) -> LayerWidths:
        entries = dict(getattr(widths, name))
        if kind in entries:
            entries[kind] = _cut(entries[kind])
        changed: dict[str, Any] = {name: entries}
        return dataclasses.replace(widths, **changed)

    return narrow


def _values(widths: LayerWidths) -> LayerWidths:
    return dataclasses.replace(widths, value_bits=widths.value_bits - 1)


#: What is a bit narrower -> the class that lists it, and how it is made so.
WIDTHS: dict[str, tuple[type, _Narrow]] = {
    "value of an event": (LayerWidths, _values),
    **{
        f"sum: {kind}": (LayerWidths, _entry("sums", kind))
        for kind in (GATE, CANDIDATE, CANDIDATE_INPUT, CANDIDATE_RECURRENT)
    },
    **{
        f"total: {kind}": (LayerWidths, _entry("totals", kind))
        for kind in (Z, R, CANDIDATE, CANDIDATE_INPUT, CANDIDATE_RECURRENT)
    },
    "bias": (LayerWidths, _field("biases")),
    "state": (LayerWidths, _field("state")),
    "above the threshold": (LayerWidths, _field("above")),
    "readout: sum": (ReadoutWidths, _field("sum")),
    "readout: bias": (ReadoutWidths, _field("bias")),
    "readout: logit": (ReadoutWidths, _field("logit")),
}


@dataclasses.dataclass(frozen=True)
class WidthVerdict:
    """A width that was a bit narrower: what noticed it, if anything, and how many networks were played."""

    width: str
    text: str | None
    networks: int


@contextmanager
def narrowed(width: str) -> Iterator[None]:
    """Accelerators are built with this width a bit narrower; what they should compute stays."""
    listed, narrow = WIDTHS[width]
    original = listed.of.__func__  # type: ignore[attr-defined]

    def of(cls: type, *args: Any, **options: Any) -> _Widths:
        return narrow(original(cls, *args, **options))

    with patch.object(listed, "of", classmethod(of)):
        yield


def judge(width: str, seed: int) -> WidthVerdict:
    """Play networks to a mutant until a run notices it."""
    played = 0
    for number in range(DRAWS_MAX):
        case = draw_bounded_case(seed, number)
        exact = built_widths(case)
        with narrowed(width):
            if built_widths(case) == exact:
                continue
            verdict = check_case(case)
        played += 1
        if verdict.problem is not None:
            return WidthVerdict(width, verdict.problem, played)
        if played == NETWORKS_MAX:
            break
    return WidthVerdict(width, None, played)


def built_widths(case: Case) -> list[tuple[int, ...]]:
    """All widths that the accelerator of a case is built with."""
    found: list[tuple[int, ...]] = []
    for layer in case.image.layers:
        bits = max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)
        widths = LayerWidths.of(layer, weight_bits=bits, compact=case.config.compact)
        own = widths.value_bits, widths.sum_bits, widths.bias_bits, widths.state_bits, widths.above_bits
        found.append((*own, *(bounds.bits for bounds in widths.totals.values())))
    readout = ReadoutWidths.of(case.image.readout, case.image.layers[-1].event_format)
    return [*found, (readout.sum_bits, readout.bias_bits, readout.logit_bits)]


def judge_all(
    seed: int, *, jobs: int = 1, progress: Callable[[WidthVerdict], None] | None = None
) -> tuple[WidthVerdict, ...]:
    """All mutants of widths, `jobs` at once."""
    found = []
    with ProcessPoolExecutor(jobs) as pool:
        for verdict in pool.map(judge, WIDTHS, [seed] * len(WIDTHS)):
            found.append(verdict)
            if progress:
                progress(verdict)
    return tuple(found)
