"""What a run cost, beside what it had to do, and whether every bit was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from egret_sim.cosimulation import Outcome, Stalls
from egret_sim.scoreboard import Mismatch
from egru.image import NetworkImage
from egru.integer import Trace


@dataclass(frozen=True)
class Work:
    """What sequences ask of an accelerator, whatever it does about it.

    ``input_events`` are those of the network's input, ``layer_events`` those that each layer sends.
    ``useful_macs`` are the products with events: 3N for each event that arrives at a layer of N units, from
    its input or from its own last step, and C for each event at the readout, which are ``readout_macs`` by
    themselves. ``dense_macs`` are those of a network that knows no silence.
    """

    sequences: int
    steps: int
    input_events: int
    layer_events: tuple[int, ...]
    useful_macs: int
    readout_macs: int
    dense_macs: int


def work_of(image: NetworkImage, sequences: Sequence[np.ndarray], traces: Sequence[Trace]) -> Work:
    """Count the work of sequences whose golden traces are given."""
    layers = image.layers
    input_events = 0
    layer_events = [0] * len(layers)
    steps = useful = readout = 0
    for x, trace in zip(sequences, traces, strict=True):
        steps += len(x)
        arriving = int(np.count_nonzero(x))
        input_events += arriving
        for number, (layer, events) in enumerate(zip(layers, trace.events, strict=True)):
            # What fires in the last step meets no next one.
            recurrent = int(np.count_nonzero(events[:-1]))
            useful += 3 * layer.spec.units * (arriving + recurrent)
            arriving = int(np.count_nonzero(events))
            layer_events[number] += arriving
        readout += image.readout.spec.classes * arriving
    per_step = sum(3 * layer.spec.units * (layer.spec.inputs + layer.spec.units) for layer in layers)
    per_step += image.readout.spec.classes * layers[-1].spec.units
    return Work(
        len(sequences), steps, input_events, tuple(layer_events), useful + readout, readout, per_step * steps
    )


@dataclass(frozen=True)
class Report:
    """One run: the outcome of the comparison, and figures.

    ``lanes`` counts the multipliers for products, those of all tiles and of the readout, and
    ``readout_lanes`` the latter alone.
    """

    name: str
    outcome: Outcome
    work: Work
    lanes: int
    readout_lanes: int
    stalls: Stalls | None
    seed: int

    @property
    def passed(self) -> bool:
        """True if the run came to its end, something was compared, and no bit differed."""
        return self.outcome.passed

    @property
    def mismatches(self) -> int:
        """Values and protocol steps that differed."""
        return self.outcome.scoreboard.mismatches

    @property
    def compared(self) -> int:
        """Values compared: each unit in each step (silence is a value, too), and each logit."""
        return self.outcome.scoreboard.compared

    @property
    def first_mismatch(self) -> Mismatch | None:
        """The mismatch nearest to its cause."""
        return self.outcome.scoreboard.first

    @property
    def cycles(self) -> int:
        """Cycles from reset to the last END."""
        return self.outcome.cycles

    @property
    def cycles_per_step(self) -> float:
        """Cycles over steps, of all sequences together."""
        return self.cycles / max(1, self.work.steps)

    @property
    def busy_percent(self) -> float:
        """Busy-MAC %: useful MACs / (lanes x cycles)."""
        return 100 * self.work.useful_macs / max(1, self.lanes * self.cycles)

    @property
    def layers_busy_percent(self) -> float:
        """The same of the layers' lanes alone, without the readout and its lanes."""
        lanes = self.lanes - self.readout_lanes
        return 100 * (self.work.useful_macs - self.work.readout_macs) / max(1, lanes * self.cycles)

    @property
    def effective_over_peak(self) -> float:
        """Dense MACs / (lanes x cycles): above 1, the accelerator beats a dense one that never idles."""
        return self.work.dense_macs / max(1, self.lanes * self.cycles)

    @property
    def problem(self) -> str | None:
        """One line that says what is wrong, or None."""
        outcome = self.outcome
        if self.first_mismatch is not None:
            text = f"{self.mismatches} mismatches, the first: {self.first_mismatch}"
            return f"{text}; time-out: {outcome.timeout}" if outcome.timeout else text
        if outcome.timeout:
            return f"time-out: {outcome.timeout}"
        if outcome.problem:
            return outcome.problem
        if not self.compared:
            return "nothing was compared"
        return None if outcome.finished else "the run was stopped before its end"

    def as_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "seed": self.seed,
            "stalls": asdict(self.stalls) if self.stalls else None,
            "lanes": self.lanes,
            **asdict(self.work),
            "cycles": self.cycles,
            "cycles_per_step": self.cycles_per_step,
            "busy_percent": self.busy_percent,
            "layers_busy_percent": self.layers_busy_percent,
            "effective_over_peak": self.effective_over_peak,
            "compared": self.compared,
            "mismatches": self.mismatches,
            "problem": self.problem,
            "seconds": self.outcome.seconds,
        }


def table_of(reports: Sequence[Report], *, title: str | None = None) -> Table:
    """Runs of one network side by side: a figure in each row, a run in each column."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for report in reports:
        table.add_column("random stalls" if report.stalls else "no stalls", justify="right")

    def row(heading: str, values: Sequence[str | Text]) -> None:
        table.add_row(heading, *values)

    def per_step(events: int, report: Report) -> str:
        return f"{events / max(1, report.work.steps):.2f}"

    row("sequences", [f"{r.work.sequences}" for r in reports])
    row("steps", [f"{r.work.steps}" for r in reports])
    row("input events / step", [per_step(r.work.input_events, r) for r in reports])
    for layer in range(len(reports[0].work.layer_events)):
        row(f"layer {layer} events / step", [per_step(r.work.layer_events[layer], r) for r in reports])
    row("cycles", [f"{r.cycles}" for r in reports])
    row("cycles / step", [f"{r.cycles_per_step:.1f}" for r in reports])
    row("busy MAC %, layers", [f"{r.layers_busy_percent:.1f}" for r in reports])
    row("busy MAC %, with readout", [f"{r.busy_percent:.1f}" for r in reports])
    row("effective / peak", [f"{r.effective_over_peak:.2f}" for r in reports])
    row("values compared", [f"{r.compared}" for r in reports])
    row("mismatches", [Text(f"{r.mismatches}", "red" if r.mismatches else "") for r in reports])
    return table
