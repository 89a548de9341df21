"""Runs a case and says whether the accelerator did what the integer model says, in every bit."""

from __future__ import annotations

import gc
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from egret_hw.counters import COUNTED
from egret_hw.generate import describe, generate
from egret_hw.protection import GROUPS
from egret_sim.build import SimulationError, build_root
from egret_sim.cosimulation import SETTLE_CYCLES
from egret_sim.run import GoldenTraces, patience_cycles
from egret_sim.scoreboard import LOGITS, Scoreboard
from egret_sim.tokens import TokenLayout
from egret_sim.turns import Turn, plan
from egru.image import NetworkImage

from .case import Case, Phase
from .cover_points import HARDWARE_POINTS
from .coverage import COVERAGE_OPTIONS, Counting, Coverage, read_coverage
from .covered import CoveredAccelerator
from .forms import Start, starts
from .native import build_driver, token_ports
from .run_points import count_run
from .script import (
    BROKEN,
    FINISHED,
    FLOODED,
    REFUSED,
    RESET,
    STUCK,
    Record,
    phase_words,
    read_records,
    weight_rows,
)

#: A driver that takes longer (in seconds) hangs: no case is that long.
DRIVER_SECONDS = 1800
#: What is wrong with a case in which no token came before a reset.
EMPTY = "nothing was compared"


@dataclass
class Verdict:
    """What came of a case.

    ``steps`` were compared in every layer, ``values`` in all of them and the logits. ``problem`` is None, or
    one line; ``broken`` says that the accelerator could not be built or run, so that nothing was compared.
    ``seconds`` says where the time went.
    """

    steps: int = 0
    values: int = 0
    cycles: int = 0
    problem: str | None = None
    broken: bool = False
    phase: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    coverage: Coverage | None = None

    @property
    def passed(self) -> bool:
        """True if something was compared and nothing differed."""
        return self.problem is None


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
            done = subprocess.run(
                [folder / "model" / "driver", *files],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=DRIVER_SECONDS,
            )
            laps.end("run")
            if done.returncode:
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


def compare(
    case: Case,
    sidecar: dict[str, Any],
    turns: Sequence[Sequence[Turn]],
    begins: Sequence[Start],
    records: Sequence[Record],
    verdict: Verdict,
) -> None:
    """Compare the records of all phases with the integer model; the first problem ends it."""
    ports = token_ports(sidecar)
    if len(records) != len(case.phases):
        verdict.problem = f"{len(records)} of {len(case.phases)} phases were recorded"
        return
    counted = np.zeros(0)
    for number, (phase, order, begin, record) in enumerate(
        zip(case.phases, turns, begins, records, strict=True)
    ):
        since = np.zeros_like(record.counters) if begin.fresh else counted
        counted = record.counters
        problem = _compare_phase(begin.image, phase, order, record, since, ports, verdict)
        verdict.cycles += record.cycles
        if problem:
            verdict.problem, verdict.phase = f"phase {number}: {problem}", number
            return
    if not verdict.values:
        verdict.problem = EMPTY


def _compare_phase(
    golden: NetworkImage,
    phase: Phase,
    order: Sequence[Turn],
    record: Record,
    since: np.ndarray,
    ports: dict[str, TokenLayout],
    verdict: Verdict,
) -> str | None:
    layers, every = len(golden.layers), golden.readout.spec.mode == "every"
    traces = GoldenTraces(golden, phase.sequences)
    board = Scoreboard(traces, order, layers=layers, every=every)
    names = [LOGITS, *(f"tap{layer}" for layer in range(layers))]
    for name, rows in zip(names, record.streams, strict=True):
        kind, index, value = ports[name].decode(rows[:, 0])
        board.feed(name, kind, index, value, rows[:, 1].astype(np.int64))
    if record.status == FINISHED and not board.mismatches:
        board.finish()
    last = board.streams[f"tap{layers - 1}"]
    verdict.steps += last.compared // golden.layers[-1].spec.units
    verdict.values += board.compared
    if board.mismatches:
        return f"{board.mismatches} mismatches, the first: {board.first}"
    if record.status in (STUCK, BROKEN, FLOODED, REFUSED):
        where = f"after {record.played} input tokens and {record.ends} sequences, in cycle {record.cycles}"
        what = {
            STUCK: "no token moves any more",
            BROKEN: "logits changed or vanished before they were taken",
            FLOODED: "tokens come without end",
            REFUSED: "a word of weights was not taken at once",
        }
        return f"{what[record.status]}, {where}"
    if record.faults:
        flagged = [name for bit, name in enumerate(GROUPS) if record.faults >> bit & 1]
        return f"parity flags {', '.join(flagged)}, and nothing was wrong"
    return _check_counters(golden, phase, traces, record, since)


def _check_counters(
    golden: NetworkImage, phase: Phase, traces: GoldenTraces, record: Record, since: np.ndarray
) -> str | None:
    """Counters say where each cycle went, and how many input events there were ``since`` the phase began."""
    for layer, values in enumerate(record.counters - since):
        counters = dict(zip(COUNTED, values.tolist(), strict=True))
        spent = counters["busy"] + sum(v for name, v in counters.items() if name.startswith("idle"))
        if spent != counters["cycles"]:
            return f"layer {layer}: busy and idle counters add up to {spent}, not {counters['cycles']}"
        if record.status == RESET:
            continue
        if layer:
            arrived = sum(int(np.count_nonzero(trace.events[layer - 1])) for trace in traces)
        else:
            arrived = sum(int(np.count_nonzero(x)) for x in phase.sequences)
        if counters["input_events"] != arrived:
            return f"layer {layer}: counted {counters['input_events']} input events, not {arrived}"
    return None
