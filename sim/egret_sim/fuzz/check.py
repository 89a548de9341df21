"""Runs a case and says whether the accelerator did what the integer model says, in every bit."""

from __future__ import annotations

import gc
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.generate import describe, generate
from egret_sim.build import SimulationError, build_root
from egret_sim.cosimulation import SETTLE_CYCLES
from egret_sim.overflow import MESSAGE, overflowed
from egret_sim.run import patience_cycles
from egret_sim.turns import Turn, plan
from egru import processes

from .case import Case
from .comparison import Verdict, compare
from .cover_points import HARDWARE_POINTS
from .coverage import COVERAGE_OPTIONS, Counting, read_coverage
from .covered import CoveredAccelerator
from .forms import Start, starts
from .native import build_driver, token_ports
from .run_points import count_run
from .script import phase_words, read_records, weight_rows

#: A driver that takes longer (in seconds) hangs: no case is that long.
DRIVER_SECONDS = 1800


class Bench:
    """Runs cases. The accelerator built last is kept, for cases that only play something else to it.

    Parameters
    ----------
    coverage
        What to count beside: nothing, the named points, or lines and toggles of the Verilog as well.
    """

    def __init__(self, *, coverage: Counting = Counting.NOTHING) -> None:
        self._coverage = coverage
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._built_from: Case | None = None
        self._sidecar: dict[str, Any] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._folder:
            self._folder.cleanup()
        self._folder = self._built_from = None

    def check(self, case: Case) -> Verdict:
        """Generate and build the accelerator, run the case and compare all that comes of it.

        Whatever goes wrong on the way is a problem of the verdict: a case is valid, so nothing may.
        """
        verdict = Verdict()
        laps = _Laps(verdict.seconds)
        try:
            folder = self._build(case, laps)
            turns = [plan([len(x) for x in p.sequences], case.config.streams) for p in case.phases]
            begins = list(starts(case))
            write_script(case, self._sidecar, turns, begins, folder / "script.bin")
            laps.end("script")
            files = [folder / "script.bin", folder / "record.bin"]
            if self._coverage:
                files += [folder / "points.bin", folder / "coverage.dat"]
                (folder / "coverage.dat").unlink(missing_ok=True)
            done = processes.run(
                [folder / "model" / "driver", *files],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=DRIVER_SECONDS,
            )
            laps.end("run")
            if done.returncode:
                if place := overflowed(done.stdout):
                    verdict.problem = f"{MESSAGE} {place}"
                    return verdict
                raise SimulationError(f"status {done.returncode}: {done.stderr.strip()}")
            if self._coverage:
                verdict.coverage = read_coverage(folder / "points.bin", folder / "coverage.dat")
            records = read_records(np.fromfile(folder / "record.bin", np.uint64), len(case.image.layers))
        except (SimulationError, subprocess.TimeoutExpired, ValueError) as error:
            verdict.problem, verdict.broken = f"{type(error).__name__}: {error}", True
            return verdict
        compare(case, self._sidecar, turns, begins, records, verdict)
        if verdict.coverage and verdict.passed:
            verdict.coverage.points.update(count_run(case, begins, records))
            for phase, begin in zip(case.phases, begins, strict=True):
                if not phase.reset_tokens:
                    verdict.coverage.count_numbers(begin.image, phase.sequences)
        laps.end("compare")
        return verdict

    def _build(self, case: Case, laps: _Laps) -> Path:
        last = self._built_from
        if last and self._folder and case.image is last.image and case.config == last.config:
            return Path(self._folder.name)
        self._forget()
        parent = build_root() / "fuzz"
        parent.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="case-", dir=parent)
        folder = Path(self._folder.name)
        with _without_collector():
            if self._coverage:
                covered = CoveredAccelerator(case.image, case.config)
                sidecar, text = describe(covered.accelerator), covered.verilog()
            else:
                sidecar = generate(case.image, folder, case.config)
                text = (folder / f"{sidecar['top']}.v").read_text()
            # Through JSON, as a user of the files gets it.
            self._sidecar = json.loads(json.dumps(sidecar))
        laps.end("generate")
        options = COVERAGE_OPTIONS if self._coverage == Counting.CODE else ()
        points = len(HARDWARE_POINTS) if self._coverage else 0
        build_driver(text, self._sidecar, folder / "model", coverage=options, points=points)
        laps.end("build")
        self._built_from = case
        return folder


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage: half of the time that it takes to write Verilog went there."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_case(case: Case) -> Verdict:
    """Run one case and compare all that comes of it; see :class:`Bench`."""
    with Bench() as bench:
        return bench.check(case)


class _Laps:
    """Notes how long each stage took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._begin = time.monotonic()

    def end(self, stage: str) -> None:
        now = time.monotonic()
        self._seconds[stage] = now - self._begin
        self._begin = now


def write_script(
    case: Case,
    sidecar: dict[str, Any],
    turns: Sequence[Sequence[Turn]],
    begins: Sequence[Start],
    path: Path,
) -> None:
    """Write the driver's script of a case. Words of weights are loaded in a random order."""
    layout = token_ports(sidecar)["events"]
    classes = case.image.readout.spec.classes
    widest = max(classes, *(layer.spec.units for layer in case.image.layers))
    pieces = []
    resets = [begin.fresh for begin in begins[1:]] + [True]
    for phase, order, begin, reset_follows in zip(case.phases, turns, begins, resets, strict=True):
        weights = weight_rows(sidecar, begin.contents)
        weights = np.random.default_rng(phase.seed).permutation(weights)
        gaps = [stalls.mask for stalls in (phase.source, phase.sink) if stalls]
        patience = patience_cycles(sidecar) + 4 * max(gaps, default=0)
        flood = 2 * len(order) * (widest + 1) + 1000
        pieces.append(
            phase_words(
                phase,
                layout,
                order,
                fresh=begin.fresh,
                weights=weights,
                # What goes on without a reset does so in the cycle after the last END.
                settle=SETTLE_CYCLES if reset_follows else 0,
                patience=patience,
                flood=flood,
            )
        )
    np.concatenate(pieces).tofile(path)
