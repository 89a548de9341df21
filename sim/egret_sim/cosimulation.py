"""Runs sequences through an accelerator in Verilator and compares every token with the golden model.

The simulation is a process of its own (:mod:`egret_sim.benches.whole`), which writes the tokens that it saw
to files. They are read and compared here, while it goes on, so that the first mismatch stops it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_sim import harness
from egret_sim.build import Simulation, SimulationError, build, build_root
from egret_sim.native import NativeSimulation
from egret_sim.overflow import MESSAGE, overflowed, stop_at_overflow
from egret_sim.scoreboard import LOGITS, GoldenTrace, Scoreboard
from egret_sim.tokens import END
from egret_sim.turns import encode, plan

#: Cycles without any token after which a run is given up, unless the caller knows better.
DEFAULT_PATIENCE_CYCLES = 20_000
#: Silent cycles behind the last END, in which a token too many would show.
SETTLE_CYCLES = 400


@dataclass(frozen=True)
class Stalls:
    """Random gaps: after a token (at the sink: a ready cycle) one follows with a chance of ``chance``/256.

    Three in four gaps are short, 1 to 4 cycles. The fourth is 1 + (a random number masked with ``mask``)
    cycles long, enough for what waits inside to run dry, or to fill up.
    """

    chance: int = 64
    mask: int = 1023

    def __post_init__(self) -> None:
        if not 1 <= self.chance <= 255:
            raise ValueError(f"chance must be in 1..255, not {self.chance}")
        if not 0 <= self.mask < 1 << 16:
            raise ValueError(f"mask must be in 0..65535, not {self.mask}")


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    sequences: int
    cycle: int
    mismatches: int


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    ``cycles`` runs from reset to the last END; ``sequence_ends`` holds the cycle of each END of the logits,
    and ``done`` the numbers of the sequences that they belong to.
    ``timeout`` says what the run was waiting for when it stood still, and ``problem`` what else went wrong.
    ``seconds`` is the time of the whole run, its start and the comparison included; ``cpu_seconds`` is the
    simulator's own processor time over its ``simulated_cycles``.
    """

    scoreboard: Scoreboard
    cycles: int
    seconds: float
    sequence_ends: list[int]
    done: list[int]
    finished: bool
    timeout: str | None
    problem: str | None
    directory: Path
    simulated_cycles: int = 0
    cpu_seconds: float = 0.0

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles in a second of the simulator's processor time, its start left out."""
        return self.simulated_cycles / max(self.cpu_seconds, 1e-9)

    @property
    def passed(self) -> bool:
        """True if the run came to its end, something was compared, and no bit differed."""
        board = self.scoreboard
        return (
            self.finished
            and not self.timeout
            and not self.problem
            and not board.mismatches
            and board.compared > 0
        )


class _Reader:
    """Reads the tokens that the bench appends to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def read(self) -> np.ndarray:
        """What is new: an array of (token, cycle) rows."""
        if not self.path.exists():
            return np.zeros((0, 2), np.uint64)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        data = data[: len(data) // 16 * 16]
        self.offset += len(data)
        return np.frombuffer(data, "<u8").reshape(-1, 2)


def build_bench(
    verilog: Path | str,
    sidecar: Mapping[str, Any],
    *,
    waves: bool = False,
    weights: Sequence[Sequence[int]] = (),
    optimise: str = "fast",
    root: Path | None = None,
) -> Simulation:
    """Build the harness around an accelerator.

    ``verilog`` is the path of the generated file, or its text, and ``weights`` what
    :func:`egret_sim.harness.write_top` loads; the other parameters are those of
    :func:`egret_sim.build.build`.
    """
    text = verilog.read_text() if isinstance(verilog, Path) else verilog
    return build(
        harness.PARTS,
        top=harness.TOP,
        texts={
            "accelerator.v": stop_at_overflow(text),
            "bench.sv": harness.write_top(sidecar, weights=weights),
        },
        public=harness.PUBLIC,
        optimise=optimise,
        waves=waves,
        timing=True,
        root=root,
    )


def run_bench(
    simulation: Simulation | NativeSimulation,
    sidecar: Mapping[str, Any],
    sequences: Sequence[np.ndarray],
    traces: Sequence[GoldenTrace],
    *,
    every: bool = False,
    streams: int = 1,
    seed: int = 0,
    stalls: Stalls | None = None,
    patience: int = DEFAULT_PATIENCE_CYCLES,
    poll: int = harness.POLL_CYCLES,
    stop_at_mismatch: bool = True,
    progress: Callable[[Progress], None] | None = None,
    directory: Path | None = None,
) -> Outcome:
    """Play ``sequences`` back to back, without a reset between them, and compare all that comes back.

    Parameters
    ----------
    simulation
        A bench from :func:`build_bench`, or its native twin from :func:`egret_sim.native.build_native`.
    sidecar
        The accelerator's sidecar.
    sequences
        Integer arrays, steps x inputs.
    traces
        The golden trace of each of them.
    every
        Whether the readout answers in every step.
    streams
        Sequences whose steps take turns, as many as the accelerator was built for.
    seed
        Of the stalls: the same seed gives the same run, cycle for cycle.
    stalls
        Gaps in the events and pauses of the sink for logits; None for none, as cycle figures need it.
    patience
        Cycles without any token after which the run is given up.
    poll
        Cycles between two looks at the simulation. 1 costs what a bench costs that follows every cycle.
    stop_at_mismatch
        End the run soon after the first mismatch.
    progress
        Is called now and then with how far the run is.
    directory
        Where log, waveform and recordings stay; by default they are removed after a run that passed.

    Raises
    ------
    SimulationError
        If the simulation itself broke down. A mismatch or a time-out raises nothing: it is in the outcome.
    """
    ports = harness.layouts(sidecar)
    taps = harness.tap_names(sidecar)
    if len(traces) != len(sequences):
        raise ValueError(f"each of {len(sequences)} sequences must have a trace, but there are {len(traces)}")
    turns = plan([len(x) for x in sequences], streams)
    kept = directory
    if directory is None:
        runs = build_root() / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("stop", "status.json", *(f"{name}.bin" for name in (LOGITS, *taps))):
        (directory / name).unlink(missing_ok=True)
    np.save(directory / "stimulus.npy", encode(ports["events"], sequences, turns))
    settings = {
        "taps": taps,
        "sequences": len(sequences),
        "seed": seed,
        "stalls": {"chance": stalls.chance, "mask": stalls.mask} if stalls else None,
        "settle": SETTLE_CYCLES,
        "poll": min(poll, harness.POLL_CYCLES),
        "patience": max(patience, SETTLE_CYCLES + 1),
    }
    (directory / "settings.json").write_text(json.dumps(settings))

    board = Scoreboard(traces, turns, layers=len(taps), every=every)
    readers = {name: _Reader(directory / f"{name}.bin") for name in (LOGITS, *taps)}
    ends: list[int] = []

    def compare() -> None:
        for name, reader in readers.items():
            rows = reader.read()
            if not len(rows):
                continue
            kind, index, value = ports[name].decode(rows[:, 0])
            cycles = rows[:, 1].astype(np.int64)
            if name == LOGITS:
                ends.extend(cycles[kind == END].tolist())
            board.feed(name, kind, index, value, cycles)

    started = time.monotonic()
    worker = _Worker(simulation, directory, seed)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.1)
            compare()
            if board.mismatches and stop_at_mismatch:
                (directory / "stop").touch()
            if progress:
                status = _status(directory)
                progress(Progress(status.get("sequences", 0), status.get("cycle", 0), board.mismatches))
    except BaseException:
        (directory / "stop").touch()
        worker.join()
        raise
    compare()
    status = _status(directory)
    if not status or ("stuck" not in status and "broken" not in status and worker.error):
        # The bench did not come to a verdict: what is wrong is the simulation, not the accelerator.
        log = directory / "simulation.log"
        if place := overflowed(log.read_text(errors="replace") if log.is_file() else ""):
            raise SimulationError(f"{MESSAGE} {place}, which no network may cause; see {log}")
        raise worker.error or SimulationError(f"the simulation left no status; see {directory}")
    stopped = board.mismatches > 0 and not status["finished"]
    if not stopped:
        board.finish()
    outcome = Outcome(
        scoreboard=board,
        cycles=ends[-1] + 1 if ends else status["cycle"],
        seconds=time.monotonic() - started,
        sequence_ends=ends,
        done=[turn.sequence for turn in turns if turn.kind == END][: len(ends)],
        finished=status["finished"],
        timeout=status.get("stuck"),
        problem=status.get("broken"),
        directory=directory,
        simulated_cycles=status["cycle"],
        cpu_seconds=status["cpu_seconds"],
    )
    if kept is None and outcome.passed:
        shutil.rmtree(directory, ignore_errors=True)
    return outcome


class _Worker(threading.Thread):
    """Waits for the simulation's process."""

    def __init__(self, simulation: Simulation | NativeSimulation, directory: Path, seed: int) -> None:
        super().__init__(name="simulation")
        self.simulation = simulation
        self.directory = directory
        self.seed = seed
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            if isinstance(self.simulation, NativeSimulation):
                self.simulation.play(self.directory)
                return
            self.simulation.run(
                "egret_sim.benches.whole",
                seed=self.seed,
                run_directory=self.directory,
                environment={"EGRET_RUN": str(self.directory)},
            )
        except Exception as error:
            self.error = error


def _status(directory: Path) -> dict[str, Any]:
    try:
        return json.loads((directory / "status.json").read_text())
    except FileNotFoundError:
        return {}
