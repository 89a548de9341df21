"""Builds the C++ driver with the Verilated harness, and runs it.

The program takes the files that the bench in Python takes, and leaves those that it leaves:
:func:`egret_sim.cosimulation.run_bench` works with both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_sim import harness
from egret_sim.build import WAIVERS, SimulationError, control_file, tail_of
from egret_sim.overflow import stop_at_overflow
from egret_sim.program import OPTIMISATION, Recipe, build_program, run_program

DRIVER = Path(__file__).resolve().parent / "driver.cpp"
PREFIX = "Vegret"
_RECIPE = Recipe("egret_native", "the native simulation", PREFIX, ("--assert", "-Wall"))


@dataclass(frozen=True)
class NativeSimulation:
    """A built program, in ``directory``."""

    directory: Path
    #: As of a simulation in cocotb; the program writes none.
    waves: bool = False

    @property
    def program(self) -> Path:
        """The executable."""
        return self.directory / PREFIX

    def play(self, directory: Path) -> None:
        """Play the stimulus in ``directory`` by the settings there, and leave recordings and a status.

        Raises
        ------
        SimulationError
            If the program could not do it. A standstill is no such case: it is in the status.
        """
        settings = json.loads((directory / "settings.json").read_text())
        np.load(directory / "stimulus.npy").astype("<u8").tofile(directory / "stimulus.bin")
        stall = settings["stalls"] or {"chance": 0, "mask": 0}
        arguments = {
            "folder": directory,
            "taps": ",".join(settings["taps"]),
            "sequences": settings["sequences"],
            "settle": settings["settle"],
            "patience": settings["patience"],
            "poll": settings["poll"],
            "player_seed": harness.stall_seed(settings["seed"], "player"),
            "sink_seed": harness.stall_seed(settings["seed"], "sink"),
            **stall,
        }
        log = directory / "simulation.log"
        command = [str(self.program), *(f"{name}={value}" for name, value in arguments.items())]
        try:
            status = run_program(command, log)
        finally:
            (directory / "stimulus.bin").unlink()
        if status:
            reason = f"the native simulation ended with status {status}"
            raise SimulationError(f"{reason}; see {log}{tail_of(log)}")


def build_native(
    verilog: Path | str, sidecar: Mapping[str, Any], *, optimise: str = "fast", root: Path | None = None
) -> NativeSimulation:
    """Build the program for an accelerator, or take it from the cache.

    The parameters are those of :func:`egret_sim.cosimulation.build_bench`, which builds the same harness for
    cocotb.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse the sources.
    """
    text = verilog.read_text() if isinstance(verilog, Path) else verilog
    contents = {
        "waivers.vlt": WAIVERS.read_text(),
        "public.vlt": control_file(None, harness.NATIVE_PUBLIC),
        **{path.name: path.read_text() for path in harness.PARTS},
        "accelerator.v": stop_at_overflow(text),
        "bench.sv": harness.write_top(sidecar, clock_port=True),
        DRIVER.name: DRIVER.read_text(),
    }
    program = build_program(_RECIPE, contents, top=harness.TOP, optimise=OPTIMISATION[optimise], root=root)
    return NativeSimulation(program.parent)
