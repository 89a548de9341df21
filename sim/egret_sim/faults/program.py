"""Builds the driver of a campaign with a Verilated accelerator, and runs jobs on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_sim.build import WAIVERS, SimulationError, tail_of
from egret_sim.faults.targets import Target, plain_names
from egret_sim.harness import layouts, tap_names
from egret_sim.program import OPTIMISATION, Recipe, run_program
from egret_sim.program import build_program as build

DRIVER = Path(__file__).resolve().parent / "driver.cpp"
#: `--vpi` keeps a table of the variables' names, by which the driver finds what it flips.
_RECIPE = Recipe("egret_faults", "the campaign's simulation", "Vaccelerator", ("--vpi", "-Wall"))


@dataclass(frozen=True)
class Job:
    """A run of the sequences of ``set``, in which bit ``bit`` of word ``word`` of ``target`` is flipped.

    Without ``target`` nothing is flipped.
    """

    set: int
    cycle: int = -1
    target: Target | None = None
    word: int = 0
    bit: int = 0

    def line(self) -> str:
        """As the driver reads it."""
        if self.target is None:
            return f"{self.set} -1"
        place = f"TOP.{self.target.scope} {self.target.variable} {self.word} {self.bit}"
        return f"{self.set} {self.cycle} {place}"


@dataclass(frozen=True)
class Ran:
    """What came of a job.

    ``flags`` are the bits of the port ``fault`` at the end, ``flagged`` the cycle in which one rose, and
    ``changed`` the cycle in which something else was sent than without the flip; both -1 for never. ``ports``
    says for each tap, and then for the logits, whether they differed. ``logits`` are the logits' tokens, if
    they did.
    """

    cycles: int
    ends: int
    hung: bool
    flags: int
    flagged: int
    changed: int
    ports: tuple[bool, ...]
    logits: np.ndarray


@dataclass(frozen=True)
class Program:
    """A built driver."""

    path: Path
    sidecar: Mapping[str, Any]

    def run(
        self,
        sets: Sequence[tuple[np.ndarray, int]],
        jobs: Sequence[Job],
        *,
        settle: int,
        patience: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[Ran]:
        """Run jobs in order. ``sets`` are input tokens and their number of ENDs.

        Raises
        ------
        SimulationError
            If the program could not do it.
        """
        with tempfile.TemporaryDirectory() as folder:
            stimulus, todo, results = (Path(folder) / name for name in ("stimulus", "jobs", "results"))
            head = [len(sets), *(number for tokens, ends in sets for number in (len(tokens), ends))]
            np.concatenate([np.array(head, "<u8"), *(tokens for tokens, _ in sets)]).astype("<u8").tofile(
                stimulus
            )
            todo.write_text("".join(job.line() + "\n" for job in jobs))
            log = Path(folder) / "log"

            def watch() -> None:
                if progress and results.exists():
                    progress(results.read_bytes().count(b"\n"))

            command: list[str | Path] = [self.path, stimulus, todo, results, str(settle), str(patience)]
            if run_program(command, log, watch=watch):
                raise SimulationError(f"the campaign's simulation ended with an error{tail_of(log)}")
            rows = [self._read(line) for line in results.read_text().splitlines()]
        if len(rows) != len(jobs):
            raise SimulationError(f"the campaign's simulation made {len(rows)} of {len(jobs)} runs")
        return rows

    def _read(self, line: str) -> Ran:
        numbers = [int(part) for part in line.split()]
        ports = len(tap_names(self.sidecar)) + 1
        _, cycles, ends, hung, flags, flagged, changed, *rest = numbers
        logits = np.array(rest[ports:], np.uint64)
        return Ran(cycles, ends, bool(hung), flags, flagged, changed, tuple(map(bool, rest[:ports])), logits)


def build_program(
    verilog: str, sidecar: Mapping[str, Any], targets: Sequence[Target], *, optimise: str = "fast"
) -> Program:
    """Build the driver for an accelerator whose ``targets`` can be flipped, or take it from the cache.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse the sources.
    """
    contents = {
        "waivers.vlt": WAIVERS.read_text(),
        "public.vlt": "`verilator_config\n"
        + "".join(f'public_flat_rw -module "{t.module}" -var "{t.variable}"\n' for t in targets),
        "accelerator.v": plain_names(verilog),
        "ports.h": _ports(sidecar),
        DRIVER.name: DRIVER.read_text(),
    }
    program = build(_RECIPE, contents, top=sidecar["top"], optimise=OPTIMISATION[optimise])
    return Program(program, sidecar)


def _ports(sidecar: Mapping[str, Any]) -> str:
    """C++ that reaches the ports, whose names are all that differs between accelerators."""
    taps = tap_names(sidecar)
    logits = layouts(sidecar)["logits"]
    lines = [
        "#pragma once",
        f"constexpr int PORTS = {len(taps) + 1};",
        f"constexpr int KIND_OFFSET = {logits.kind.offset};",
        "inline void set_events(Vaccelerator& top, uint64_t token, bool valid) {",
        "    top.events__payload = token;",
        "    top.events__valid = valid;",
        "}",
        "inline bool events_ready(const Vaccelerator& top) { return top.events__ready; }",
        "inline void set_ready(Vaccelerator& top, bool ready) { top.logits__ready = ready; }",
        "inline bool sent(const Vaccelerator& top, int port, uint64_t& token) {",
        "    switch (port) {",
    ]
    for number, tap in enumerate(taps):
        lines.append(f"    case {number}: token = top.{tap}__token; return top.{tap}__strobe;")
    flags = "top.fault" if "fault" in sidecar["ports"] else "0"
    lines += [
        "    default: token = top.logits__payload; return top.logits__valid;",
        "    }",
        "}",
        f"inline uint64_t flags(const Vaccelerator& top) {{ (void)top; return {flags}; }}",
    ]
    # Verilator calls a port in C++ as in Verilog, but for two underscores in a row.
    return "\n".join(lines).replace("__", "___05F") + "\n"
