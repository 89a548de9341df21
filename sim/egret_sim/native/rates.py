"""How fast an accelerator is simulated, by the program in C++ and by cocotb."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from egret_sim.report import Report
from egret_sim.run import Built, simulate

#: Sequences that a bench is shown that looks at every cycle: it takes its time.
FOLLOWED_SEQUENCES = 1


@dataclass(frozen=True)
class Rate:
    """Simulated cycles, and the simulator's processor time for them, start-up left out."""

    name: str
    cycles: int
    seconds: float

    @property
    def cycles_per_second(self) -> float:
        """Cycles in a second of processor time."""
        return self.cycles / max(self.seconds, 1e-9)


def rate_of(name: str, runs: Sequence[Report]) -> Rate:
    """The rate over some runs."""
    return Rate(
        name,
        sum(run.outcome.simulated_cycles for run in runs),
        sum(run.outcome.cpu_seconds for run in runs),
    )


def cocotb_rates(built: Built, sequences: Sequence[np.ndarray]) -> tuple[list[Rate], list[Report]]:
    """Run ``sequences`` in cocotb; return the rates of two ways to do so, and the runs.

    The first looks at every cycle from Python, as a bench does that drives a design's ports. The second moves
    tokens in bulk, once in thousands of cycles, as ``egret simulate`` does: there nearly all the work is
    done by Verilator already.
    """
    followed = simulate(built.image, sequences[:FOLLOWED_SEQUENCES], built=built, poll=1)
    bulk = simulate(built.image, sequences, built=built)
    rates = [
        rate_of("cocotb, each cycle in Python", [followed]),
        rate_of("cocotb, tokens in bulk", [bulk]),
    ]
    return rates, [followed, bulk]


def machine() -> str:
    """The machine in a few words, and what simulates on it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        if models:
            name = f"{len(models)} x {models[0]} ({platform.machine()})"
    return f"{name}, Verilator {metadata.version('verilator')}, cocotb {metadata.version('cocotb')}"
