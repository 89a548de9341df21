"""Builds an accelerator and the driver into one program, as quickly as it can be done.

All that Verilator writes is compiled as one file together with the driver, and the simulator's runtime is
compiled once for all accelerators: a small accelerator takes two or three seconds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from egret_hw.counters import COUNTED
from egret_sim.build import TOOLS, WAIVERS, SimulationError, build_root, verilator_command, verilator_root
from egret_sim.harness import layouts, tap_names
from egret_sim.overflow import stop_at_overflow
from egret_sim.safe_paths import safe_words
from egret_sim.tokens import END, TokenLayout
from egru import processes

from .script import WORD_BITS, load_words

DRIVER = Path(__file__).resolve().with_name("driver.cpp")
MODEL = "Vaccelerator"
#: Flags of the compiler: to build quickly, or to run quickly. Measured on a small accelerator, the second
#: takes three times as long to compile.
QUICK, FAST = "-O0", "-O1"
_FLAGS = ("-std=gnu++20", "-faligned-new", "-fcf-protection=none", "-w")
_DEFINES = ("-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0")


def build_driver(
    verilog: str,
    sidecar: Mapping[str, Any],
    directory: Path,
    *,
    optimise: str = QUICK,
    coverage: Sequence[str] = (),
    points: int = 0,
) -> Path:
    """Build the program for an accelerator inside ``directory``, and return its path.

    ``coverage`` are Verilator's options for coverage, which the program then writes to a fourth file.
    ``points`` is the number of cover points that the top counts, for a third one.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "accelerator.v").write_text(stop_at_overflow(verilog))
    (directory / "ports.h").write_text(write_ports(sidecar, points))
    command: list[str | Path] = [
        *verilator_command(),
        "--cc",
        "--no-timing",
        "-Wno-fatal",
        "-O3",
        "--top-module",
    ]
    command += [sidecar["top"], "--prefix", MODEL, "--Mdir", ".", *coverage, WAIVERS, "accelerator.v"]
    _run(command, directory)
    sources = sorted(directory.glob(f"{MODEL}*.cpp"))
    lines = [f'#include "{path.name}"' for path in sources] + [f'#include "{DRIVER}"']
    (directory / "all.cc").write_text("\n".join(lines) + "\n")
    covers = bool(coverage)
    runtime = _runtime(covers)
    header = runtime / "runtime.h"
    command = ["g++", optimise, *_flags(covers), "-include", header, "-I.", "all.cc"]
    _run([*command, *sorted(runtime.glob("*.o")), "-o", "driver", "-lpthread", "-lm"], directory)
    return directory / "driver"


def _flags(coverage: bool) -> list[str]:
    include = verilator_root() / "include"
    return [*_FLAGS, *_DEFINES, f"-DVM_COVERAGE={int(coverage)}", f"-I{include}", f"-I{include}/vltstd"]


@cache
def _runtime(coverage: bool) -> Path:
    """The folder that holds Verilator's runtime, compiled, and its header, compiled for :data:`QUICK`."""
    names = ["verilated", "verilated_threads", *(["verilated_cov"] if coverage else [])]
    parent = build_root() / "simulations"
    parent.mkdir(parents=True, exist_ok=True)
    options = [metadata.version("verilator"), *names, QUICK, *_flags(coverage)]
    key = hashlib.sha256("\n".join(options).encode()).hexdigest()[:16]
    kept = parent / f"driver-runtime-{key}"
    with FileLock(f"{kept}.lock"):
        if not kept.is_dir():
            with TemporaryDirectory(dir=parent) as folder:
                partial = Path(folder) / "objects"
                partial.mkdir()
                for name in names:
                    source = verilator_root() / "include" / f"{name}.cpp"
                    _run(["g++", "-O2", *_flags(coverage), "-c", source, "-o", f"{name}.o"], partial)
                header = partial / "runtime.h"
                includes = ["verilated.h", *(["verilated_cov.h"] if coverage else [])]
                header.write_text("".join(f'#include "{name}"\n' for name in includes))
                _run(["g++", QUICK, *_flags(coverage), "-x", "c++-header", header], partial)
                partial.rename(kept)
    return kept


def _run(command: Sequence[str | Path], directory: Path) -> None:
    with safe_words(*TOOLS, directory) as safe:
        environment = {**os.environ, "VERILATOR_ROOT": safe(str(verilator_root()))}
        words = [safe(str(word)) for word in command]
        done = processes.run(words, cwd=directory, env=environment, capture_output=True, text=True)
    if done.returncode:
        text = done.stderr.strip().splitlines()
        errors = [line for line in text if "error" in line.lower()] or text
        raise SimulationError(f"{Path(command[0]).name} failed in {directory}: " + "\n".join(errors[:10]))


def token_ports(sidecar: Mapping[str, Any]) -> dict[str, TokenLayout]:
    """Layouts of the ports that carry tokens; those for weights do not."""
    ports = {name: port for name, port in sidecar["ports"].items() if not name.startswith("load")}
    return layouts({"ports": ports})


def write_ports(sidecar: Mapping[str, Any], points: int = 0) -> str:
    """C++ that gives the driver the accelerator's ports, whatever their number and widths."""
    ports = token_ports(sidecar)
    taps = tap_names(sidecar)
    kind = ports["logits"].kind

    def by_tap(expression: str) -> list[str]:
        return [f"        if (tap == {n}) return {expression.format(tap=tap)};" for n, tap in enumerate(taps)]

    lines = [
        "// Written for one accelerator.",
        f'#include "{MODEL}.h"',
        f"constexpr int TAPS = {len(taps)};",
        f"constexpr int POINTS = {points};",
        f"constexpr int LOAD_WORDS = {load_words(sidecar)};",
        f"constexpr int COUNTERS = {len(COUNTED)};",
        f"constexpr int KIND_OFFSET = {kind.offset}, KIND_BITS = {kind.width}, KIND_END = {END};",
        f"struct Model : {MODEL} {{",
        f"    using {MODEL}::{MODEL};",
    ]
    for stream in ("events", "logits"):
        for part in ("valid", "ready", "payload"):
            lines.append(f"    auto& {stream}_{part}() {{ return {stream}___05F{part}; }}")
    lines += [
        "    bool strobe(int tap) const {",
        *by_tap("{tap}___05Fstrobe"),
        "        return false;",
        "    }",
    ]
    lines += [
        "    std::uint64_t token(int tap) const {",
        *by_tap("{tap}___05Ftoken"),
        "        return 0;",
        "    }",
    ]
    lines.append("    std::uint64_t counter(int tap, int n) const {")
    for n in range(len(taps)):
        # Eight counters of 32 bits: their places are those of a wide port's words.
        lines.append(f"        if (tap == {n}) return counters{n}[n];")
    lines += ["        return 0;", "    }"]
    lines += _load_ports(sidecar)
    flags = "fault" if "fault" in sidecar["ports"] else "0"
    lines.append(f"    std::uint64_t flags() const {{ return {flags}; }}")
    lines += [f"    std::uint64_t point(int n) const {{ return {'cover[n]' if points else '0'}; }}", "};"]
    return "\n".join(lines) + "\n"


def _load_ports(sidecar: Mapping[str, Any]) -> list[str]:
    """The ports for weights, of any width: Verilator gives wide ones as words of 32 bits."""
    widths = {name: port["width"] for name, port in sidecar["ports"].items() if name.startswith("load")}
    nothing, load, ready = [], [], []
    for name, width in widths.items():
        number, port = name.removeprefix("load"), f"{name}___05F"
        nothing.append(f"        {port}valid = 0;")
        load += [f"        if (layer == {number}) {{", f"            {port}valid = 1;"]
        if width <= WORD_BITS:
            load.append(f"            {port}payload = words[0];")
        else:
            for n in range(-(-width // 32)):
                load.append(f"            {port}payload[{n}] = words[{n // 2}] >> {n % 2 * 32};")
        load.append("        }")
        ready.append(f"        if (layer == {number}) return {port}ready;")
    return [
        "    void load_nothing() {",
        *nothing,
        "    }",
        "    void load(std::uint64_t layer, const std::uint64_t* words) {",
        *load,
        "    }",
        "    bool load_ready(std::uint64_t layer) const {",
        *ready,
        "        return false;",
        "    }",
    ]
