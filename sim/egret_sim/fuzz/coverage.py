"""What runs have covered: named points, and Verilator's lines and toggles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np

from egret_sim.run import GoldenTraces
from egru.image import NetworkImage

from .cover_points import HARDWARE_POINTS
from .model_points import MODEL_POINTS, count_points
from .run_points import RUN_POINTS

COVERAGE_OPTIONS = ("--coverage-line", "--coverage-toggle")
#: All named points, in the order of the report.
POINTS = [*HARDWARE_POINTS, *MODEL_POINTS, *RUN_POINTS]
#: Verilator's kinds of points: `branch` comes with `line`.
KINDS = ("line", "branch", "toggle")


class Counting(IntEnum):
    """What a run counts. Lines and toggles make the program several times as large."""

    NOTHING = 0
    POINTS = 1
    CODE = 2


@dataclass
class Coverage:
    """Counts of named points; and by Verilator's kinds, points there are and points that were hit."""

    points: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)

    def add(self, other: Coverage) -> None:
        """Count another one's points as well."""
        self.points.update(other.points)
        self.there.update(other.there)
        self.hit.update(other.hit)

    def count_numbers(self, image: NetworkImage, sequences: Sequence[np.ndarray]) -> None:
        """Count the points in the numbers of sequences that the hardware was seen to compute right."""
        self.points.update(count_points(image, sequences, GoldenTraces(image, sequences, states=True)))

    @property
    def missing(self) -> list[str]:
        """Named points that were never hit."""
        return [name for name in POINTS if not self.points[name]]

    def percent(self, kind: str) -> float:
        """Share of a kind's points that were hit, over all accelerators."""
        return 100.0 * self.hit[kind] / max(1, self.there[kind])


def read_coverage(points: Path, data: Path) -> Coverage:
    """Read what a driver wrote: counts of the hardware's points, and Verilator's file."""
    counts = np.fromfile(points, np.uint64)
    if len(counts) != len(HARDWARE_POINTS):
        raise ValueError(f"{len(counts)} of {len(HARDWARE_POINTS)} cover points were written")
    coverage = Coverage(points=Counter(dict(zip(HARDWARE_POINTS, counts.tolist(), strict=True))))
    if not data.exists():
        return coverage
    # A line is: C '...\x01page\x02v_KIND/MODULE...' COUNT
    for kind, count in re.findall(r"\x01page\x02v_(\w+)/.*' (\d+)$", data.read_text(), re.MULTILINE):
        coverage.there[kind] += 1
        coverage.hit[kind] += int(count) > 0
    if not coverage.there:
        raise ValueError("Verilator wrote no coverage")
    return coverage
