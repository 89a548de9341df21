"""Mutants: faults that Yosys plants in the generated design, and which of them the bench catches.

A few small accelerators, which together have every module, get a few hundred faults: an input or output of
a cell inverted, held at 0 or 1, or inverted under a condition. All faults of a design are compiled into one
program, in which a number switches one of them on.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from egret.build.tools import run_tool, shown_stage
from egret.console import Console
from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import TOP, describe
from egret_hw.overflow import SIGNAL
from egret_sim.mutation.program import SELECT, SELECT_BITS
from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import NetworkImage
from egru.testing import random_image


@dataclass(frozen=True)
class Design:
    """An accelerator that gets faults."""

    name: str
    image: NetworkImage
    config: AcceleratorConfig


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes
    ----------
    number : the value of the port that switches it on, in its design; from 1
    module : path of the module, as the generator names it
    mode : what is done: inv, const0, const1, or cnot0 and cnot1 (inverted where another bit is 0, or 1)
    cell, port, bit : where
    wire : the design's name of what is changed, if it has one
    source : lines of the design's Verilog
    options : all of it, as Yosys takes it
    """

    number: int
    module: str
    mode: str
    cell: str
    port: str
    bit: int
    wire: str
    source: str
    options: str

    @property
    def place(self) -> str:
        """The wire, or the pin of the cell, that is changed."""
        return self.wire or f"{self.cell}.{self.port}[{self.bit}]"

    def __str__(self) -> str:
        return f"{self.module}: {self.mode} {self.place}"

    @classmethod
    def parse(cls, line: str) -> Mutant:
        """A line of Yosys's list, which has the number as well."""
        words = shlex.split(line.replace("\\", "\\\\").replace("$", "\\$"))[1:]
        options: dict[str, list[str]] = {}
        at = 0
        while at < len(words):
            size = 4 if words[at] == "-ctrl" else 2
            options.setdefault(words[at][1:], []).extend(words[at + 1 : at + size])
            at += size
        wire = options.get("wire", [""])[0].lstrip("\\")
        bit = options.get("wirebit", ["0"])[0]
        return cls(
            number=int(options["ctrl"][2]),
            module=options["module"][0].lstrip("\\"),
            mode=options["mode"][0],
            cell=options["cell"][0].lstrip("\\"),
            port=options["port"][0].lstrip("\\"),
            bit=int(options["portbit"][0]),
            wire=f"{wire}[{bit}]" if wire else "",
            source=" ".join(options.get("src", [])),
            options=line.strip(),
        )


#: Of the networks: with these, every unit fires in a quarter of the steps at least and in three at most, each
#: class has weights of both signs, and sums hardly ever saturate.
_SEEDS = (829, 1958)


def designs() -> tuple[Design, ...]:
    """The accelerators that get faults: every module of the generator is in one of them.

    Their tables are random: neighbouring entries have nothing in common, so each bit of an index shows. Their
    formats leave as few bits of a sum below the index as there may be.
    """
    rngs = [np.random.default_rng(seed) for seed in _SEEDS]
    two = _mixed(rngs[0], random_image(
        rngs[0], inputs=3, units=(6, 5), classes=3, mode="mean", input_bits=5,
        input_signed=True, table_bits=8, weight_bits=4, event_bits=7, max_steps=64,
        input_frac=4, threshold=(0.0, 0.1), extreme=True, random_tables=True,
    ))  # fmt: skip
    first, second = two.layers
    second = replace(second, spec=replace(second.spec, reset="before"))
    streams = _mixed(rngs[1], random_image(
        rngs[1], inputs=4, units=(5, 7), classes=2, mode="every", input_bits=4,
        input_signed=False, table_bits=8, weight_bits=6, event_bits=6, state_reset="output",
        input_frac=4, threshold=(0.0, 0.1), extreme=True, random_tables=True,
    ))  # fmt: skip
    return (
        Design(
            "two layers",
            replace(two, name="two", layers=(first, second)),
            AcceleratorConfig(lanes=(4, 3), update_lanes=1, readout_lanes=2, queue_depth=20),
        ),
        Design(
            "three streams",
            replace(streams, name="streams"),
            AcceleratorConfig(lanes=(15, 8), update_lanes=2, readout_lanes=1, queue_depth=2, streams=3),
        ),
    )


def _mixed(rng: np.random.Generator, image: NetworkImage) -> NetworkImage:
    """The same with half of the weights, chosen at random, drawn from all of their range."""

    def mixed(weight: np.ndarray, bits: int) -> np.ndarray:
        fmt = IntFormat(bits, 0, True)
        return np.where(
            rng.random(weight.shape) < 0.5, rng.integers(fmt.lo, fmt.hi, weight.shape, endpoint=True), weight
        )

    layers = tuple(
        replace(
            layer,
            input_weight=mixed(layer.input_weight, layer.spec.input_weight_bits),
            recurrent_weight=mixed(layer.recurrent_weight, layer.spec.recurrent_weight_bits),
        )
        for layer in image.layers
    )
    readout = replace(image.readout, weight=mixed(image.readout.weight, image.readout.spec.weight_bits))
    return replace(image, layers=layers, readout=readout)


@dataclass(frozen=True)
class Mutated:
    """A design with its faults: Verilog, and the same as RTLIL, with a port that chooses one of them."""

    design: Design
    mutants: tuple[Mutant, ...]
    text: str
    rtlil: str
    original: str
    sidecar: dict[str, Any]


#: What is done to a design before it gets faults: what nothing depends on goes.
PREPARATION = f"hierarchy -top {TOP}; proc; opt; wreduce; memory_collect; opt_clean"
#: What says where a number overflows is no hardware: it stays in the design, and gets no faults.
_KEPT, _NOT_LISTED = f"setattr -set keep 1 w:{SIGNAL}", f"setattr -unset keep w:{SIGNAL}; opt_clean"

#: Where no faults are planted. A read without a clock has an enable that must be 1: with a fault there, Yosys
#: cannot write the memory. And clocks are no logic: there is one, each register has it, and proofs do
#: not know it.
_LEFT_OUT = re.compile(r" -port \\*(RD_(EN|ARST|SRST)|\S*clk\S*) ", re.IGNORECASE)


def _with_spare(count: int) -> int:
    """How many faults are chosen, so that `count` are left without those of `_LEFT_OUT`."""
    return count + count // 10 + 4


def mutate(
    design: Design,
    count: int,
    *,
    seed: int,
    module: str | None = None,
    console: Console,
    log: Path | None = None,
) -> Mutated:
    """Plant `count` faults, spread over all modules, or in those below a path that holds `module`.

    Raises
    ------
    EgretError
        If no module is so called, or Yosys fails.
    """
    from amaranth.back import verilog

    with tempfile.TemporaryDirectory(prefix="egret-mutate-") as name:
        folder = Path(name)
        with shown_stage(f"{design.name}: generation", console):
            accelerator = Accelerator(design.image, design.config)
            original = verilog.convert(accelerator, name=TOP, emit_src=False)
            (folder / "design.v").write_text(original)
        script = (
            f"read_verilog design.v; {_KEPT}; {PREPARATION}; write_rtlil prepared.il; {_NOT_LISTED}; "
            f"mutate -list {_with_spare(count)} -seed {seed} -ctrl {SELECT} {SELECT_BITS} 1 -o list.txt"
        )
        if module is not None:
            chosen = sorted(set(re.findall(rf"^module \\?(\S*{re.escape(module)}[^\s(]*)", original, re.M)))
            if not chosen:
                return Mutated(design, (), "", "", original, {})
            share = -(-count // len(chosen))
            lists = [
                f"mutate -list {share} -seed {seed} -ctrl {SELECT} {SELECT_BITS} {1 + number * share} "
                f"-module {name} -o list{number}.txt"
                for number, name in enumerate(chosen)
            ]
            script = (
                f"read_verilog design.v; {_KEPT}; {PREPARATION}; write_rtlil prepared.il; {_NOT_LISTED}; "
                + "; ".join(lists)
            )
        (folder / "list.ys").write_text(script.replace("; ", "\n") + "\n")

        def yosys(script: str, title: str) -> None:
            run_tool(
                "yosys",
                [script],
                title=f"{design.name}: {title}",
                log=log or folder / "yosys.log",
                directory=folder,
                console=console,
            )

        yosys("list.ys", "choice of faults")
        paths = sorted(folder.glob("list*.txt"), key=lambda path: (len(path.name), path.name))
        lines = [line for path in paths for line in path.read_text().splitlines() if line.strip()]
        lines = [line for line in lines if not _LEFT_OUT.search(line)]
        if module is None:
            lines = lines[:count]
        mutants = tuple(Mutant.parse(line) for line in lines)
        (folder / "plant.ys").write_text(
            "\n".join(
                [
                    "read_rtlil prepared.il",
                    *lines,
                    "write_rtlil planted.il",
                    "write_verilog -noattr mutated.v",
                    "",
                ]
            )
        )
        yosys("plant.ys", "planting of faults")
        return Mutated(
            design=design,
            mutants=mutants,
            text=(folder / "mutated.v").read_text(),
            rtlil=(folder / "planted.il").read_text(),
            original=original,
            sidecar=json.loads(json.dumps(describe(accelerator))),
        )


def chosen_counts(total: int, count: int) -> list[int]:
    """How many of `total` faults each of `count` designs gets."""
    if total < 1:
        raise EgretError(f"mutants must be 1 or more, not {total}")
    return [total // count + (number < total % count) for number in range(count)]
