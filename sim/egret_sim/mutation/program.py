"""Builds a design whose faults a number switches on, and plays runs through it.

The faults are in the Verilog already: its port ``mutant`` says which of them is there, 0 for none. So a
design is compiled once for hundreds of faults.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egret_sim import harness
from egret_sim.build import SimulationError
from egret_sim.cosimulation import SETTLE_CYCLES, Stalls
from egret_sim.overflow import stop_at_overflow
from egret_sim.program import Recipe, build_program
from egret_sim.tokens import END, MAX_TOKEN_BITS
from egru import processes

DRIVER = Path(__file__).resolve().parent / "driver.cpp"
TOP, PREFIX = "egret_mutants", "Vegret"
#: Name and width of the port that chooses the fault.
SELECT, SELECT_BITS = "mutant", 16
#: Layers that the program has room for, and counters of each.
MAX_LAYERS, COUNTERS_PER_LAYER = 8, 8
STATUS = ("finished", "stuck", "broken", "too long", "unstable", "stopped")
#: A small design that runs for seconds.
_FLAGS = {"OPT_FAST": "-O1", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1"}
_RECIPE = Recipe(
    TOP, "the mutants", PREFIX, ("-Wno-fatal", "-Wno-lint", "-CFLAGS", "-DVL_USER_FATAL -DVL_USER_STOP")
)


_COUNTERS = re.compile(r"^module \S*\.counters\b.*?^endmodule", re.M | re.S)
_REGISTER = re.compile(r"^(\s*reg (?:\[\d+:0\] )?(?!counting\b|late\b)\w+)", re.M)


def _reachable(module: re.Match) -> str:
    """Verilog of a module of counters whose registers, all but those for strobes, the program can set."""
    return _REGISTER.sub(r"\1 /*verilator public_flat_rw*/", module[0])


@dataclass(frozen=True)
class Record:
    """What came of a run.

    Attributes
    ----------
    mutant : which fault was there; 0 for none
    status : one of :data:`STATUS`
    cycles : of the run
    counters : layers x counters, at its end
    streams : by name of the port, an array of (token, cycle) rows
    """

    mutant: int
    status: str
    cycles: int
    counters: np.ndarray
    streams: dict[str, np.ndarray]


@dataclass(frozen=True)
class MutantProgram:
    """A built design with its faults, in ``directory``."""

    directory: Path
    sidecar: Mapping[str, Any]

    def play(
        self,
        stimulus: np.ndarray,
        mutants: Sequence[int],
        *,
        ends: int,
        patience: int,
        limit: int,
        stalls: Stalls | None = None,
        seed: int = 0,
        preset: int = 0,
        dirty: int = 0,
        eager: bool = False,
    ) -> list[Record]:
        """Play tokens through the design, once with each fault.

        Parameters
        ----------
        stimulus
            Input tokens, as uint64 words.
        mutants
            Numbers of faults; 0 is none.
        ends
            Ends of sequences to wait for.
        patience, limit
            Cycles without a token, and cycles in all, after which a run is given up.
        stalls
            Random gaps on the streams, as in any run; None for none.
        seed
            Of the gaps.
        preset
            What every counter begins with, from power-on and without a reset; 0 for a reset.
        dirty
            Cycles of the same tokens before the reset, so that it has something to do.
        eager
            The source has no gaps, only the sink has.

        Raises
        ------
        SimulationError
            If the program breaks down.
        """
        names = [*harness.tap_names(self.sidecar), "logits"]
        numbers = [len(names), ends, SETTLE_CYCLES, patience, limit]
        numbers += [stalls.chance, stalls.mask] if stalls else [0, 0]
        with tempfile.TemporaryDirectory(prefix="egret-mutants-") as name:
            tokens, records = Path(name) / "stimulus.bin", Path(name) / "records.bin"
            stimulus.astype("<u8").tofile(tokens)
            source = stalls.chance if stalls and not eager else 0
            words = [*numbers, seed, preset, dirty, source, *mutants]
            command = [str(self.directory / PREFIX), str(tokens), str(records), *map(str, words)]
            done = processes.run(command, capture_output=True, text=True)
            if done.returncode:
                said = (done.stdout + done.stderr).strip()
                raise SimulationError(f"the mutants' program ended with {done.returncode}: {said}")
            return _parse(np.fromfile(records, "<u8"), names)


def _parse(words: np.ndarray, names: Sequence[str]) -> list[Record]:
    layers = len(names) - 1
    found, at = [], 0
    while at < len(words):
        mutant, status, cycles = (int(word) for word in words[at : at + 3])
        at += 3
        counters = words[at : at + layers * COUNTERS_PER_LAYER].reshape(layers, -1)
        at += MAX_LAYERS * COUNTERS_PER_LAYER
        streams = {}
        for name in names:
            size = int(words[at])
            streams[name] = words[at + 1 : at + 1 + 2 * size].reshape(-1, 2)
            at += 1 + 2 * size
        found.append(Record(mutant, STATUS[status], cycles, counters, streams))
    return found


def build_mutants(verilog: str, sidecar: Mapping[str, Any], *, root: Path | None = None) -> MutantProgram:
    """Build the program for an accelerator with faults, or take it from the cache.

    Parameters
    ----------
    verilog
        The design, with an input port `mutant` of `SELECT_BITS`.
    sidecar
        Of the accelerator without faults.
    root
        Folder of the builds, by default :func:`egret_sim.build.build_root`.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse the sources.
    """
    if len(harness.tap_names(sidecar)) > MAX_LAYERS:
        raise SimulationError(f"the mutants' program has room for {MAX_LAYERS} layers")
    contents = {
        "accelerator.v": stop_at_overflow(_COUNTERS.sub(_reachable, verilog)),
        "top.sv": write_top(sidecar),
        DRIVER.name: DRIVER.read_text(),
    }
    program = build_program(_RECIPE, contents, top=TOP, optimise=_FLAGS, root=root)
    return MutantProgram(program.parent, sidecar)


def write_top(sidecar: Mapping[str, Any]) -> str:
    """SystemVerilog of a top whose ports are the same for every accelerator."""
    ports, taps = harness.layouts(sidecar), harness.tap_names(sidecar)
    streams = len(taps) + 1
    kind, logits = ports["logits"].kind, ports["logits"].width
    connections = [
        *("clk(clk)", "rst(rst)", f"{SELECT}({SELECT})"),
        f"events__payload(events_payload[{ports['events'].width - 1}:0])",
        *("events__valid(events_valid)", "events__ready(events_ready)"),
        f"logits__payload(tokens[{MAX_TOKEN_BITS * len(taps)}+:{logits}])",
        *("logits__valid(logits_valid)", "logits__ready(logits_ready)"),
    ]
    unused = [f"{MAX_TOKEN_BITS * len(taps)} + {logits} +: {MAX_TOKEN_BITS - logits}"]
    for number, tap in enumerate(taps):
        width = ports[tap].width
        connections += [
            f"{tap}__strobe(strobes[{number}])",
            f"{tap}__token(tokens[{MAX_TOKEN_BITS * number}+:{width}])",
        ]
        unused.append(f"{MAX_TOKEN_BITS * number} + {width} +: {MAX_TOKEN_BITS - width}")
        width = 32 * COUNTERS_PER_LAYER
        connections.append(f"counters{number}(counters[{width * number}+:{width}])")
    lines = [
        f"module {TOP} (",
        f"    input clk, rst, events_valid, logits_ready, input [{SELECT_BITS - 1}:0] {SELECT},",
        f"    input [{MAX_TOKEN_BITS - 1}:0] events_payload,",
        "    output events_ready, logits_valid, logits_end,",
        f"    output [{MAX_LAYERS}:0] strobes,",
        f"    output [{MAX_TOKEN_BITS * (MAX_LAYERS + 1) - 1}:0] tokens,",
        f"    output [{32 * COUNTERS_PER_LAYER * MAX_LAYERS - 1}:0] counters",
        ");",
        "    accelerator dut (",
        ",\n".join(f"        .{connection}" for connection in connections),
        "    );",
        f"    assign strobes[{MAX_LAYERS}:{len(taps)}] ="
        f" {MAX_LAYERS + 1 - len(taps)}'(logits_valid && logits_ready);",
        *(f"    assign tokens[{place}] = 0;" for place in unused),
        f"    assign logits_end = tokens[{MAX_TOKEN_BITS * len(taps) + kind.offset}+:{kind.width}] == {END};",
    ]
    if streams < MAX_LAYERS + 1:
        lines.append(
            f"    assign tokens[{MAX_TOKEN_BITS * (MAX_LAYERS + 1) - 1}:{MAX_TOKEN_BITS * streams}] = 0;"
        )
    if len(taps) < MAX_LAYERS:
        high, low = 32 * COUNTERS_PER_LAYER * MAX_LAYERS - 1, 32 * COUNTERS_PER_LAYER * len(taps)
        lines.append(f"    assign counters[{high}:{low}] = 0;")
    return "\n".join([*lines, "endmodule", ""])
