"""Clock and size of the accelerator on FPGAs: a fixed list of builds, each placed with several seeds.

Builds for ECP5 are out of context: the accelerator alone, its ports not tied to pins, so that the figures
are its own and not those of a board. The one for iCE40, which has fewer pins than that has ports, is a whole
bitstream.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.files import as_json, read_report, write_pages
from egru.errors import EgretError

if TYPE_CHECKING:
    import numpy as np

    from egret.console import Console
    from egru.image import NetworkImage

#: Names of the results, below the directory of documents.
JSON, MARKDOWN = "bench-fpga.json", "bench-fpga.md"

_TWO_LAYERS = "two layers of 128"  # a random network, where no shipped one is large enough


@dataclass(frozen=True)
class FpgaBuild:
    """An accelerator to build.

    Attributes
    ----------
    name : how the command line names it
    device, package : as `egret.build.boards.CAPACITY` and nextpnr name them; ECP5 has speed grade 6
    network : a shipped network, or "two layers of 128"
    lanes : of each layer
    update_lanes : of each layer; None for the default
    seeds : of the placements
    board : whose whole top is built, with its pins, clock and form of the accelerator
        (:mod:`egret.bench_board`); None = the accelerator alone, out of context
    aim_mhz : the clock that place and route aims at out of context; more than is reached, so that it does its
        best. Far more, and the router spends long on the last wires of a large design
    placer : nextpnr's, out of context: "heap", its default, or "static", for a large design whose wires the
        router can hardly end after the default
    """

    name: str
    device: str
    package: str
    network: str
    lanes: tuple[int, ...]
    seeds: tuple[int, ...]
    update_lanes: tuple[int, ...] | None = None
    board: str | None = None
    aim_mhz: int = 200
    placer: str = "heap"


BUILDS = (
    FpgaBuild("25f-16", "LFE5U-25F", "CABGA256", "digits", (16,), (1, 2, 3, 4, 5)),
    FpgaBuild("85f-64", "LFE5U-85F", "CABGA381", "digits", (64,), (1, 2, 3)),
    FpgaBuild(
        "85f-96", "LFE5U-85F", "CABGA381", _TWO_LAYERS, (48, 48), (1, 2, 3), aim_mhz=150, placer="static"
    ),
    FpgaBuild("up5k-8", "iCE40UP5K", "SG48", "digits", (8,), (1, 2, 3), board="icebreaker"),
)


@dataclass(frozen=True)
class Placed:
    """What a placement reached: clock in MHz, and the delays of its slowest path."""

    seed: int
    clock_mhz: float
    slowest: str


@dataclass(frozen=True)
class FpgaResult:
    """Figures of a build.

    Attributes
    ----------
    resources : what the netlist takes, by resource: TRELLIS_COMB (look-up tables, with those in carry chains
        and distributed memory), TRELLIS_FF, DP16KD, MULT18X18D. Of a board's build, what is placed, under
        nextpnr's names
    cycles_per_step, dense_macs_per_step : of the RTL in simulation
    placements : one for each seed
    """

    build: FpgaBuild
    resources: dict[str, int]
    cycles_per_step: float
    dense_macs_per_step: float
    placements: tuple[Placed, ...]

    @property
    def best_mhz(self) -> float:
        """The fastest clock of all seeds."""
        return max(placed.clock_mhz for placed in self.placements)

    @property
    def median_mhz(self) -> float:
        """The median clock of all seeds."""
        return statistics.median(placed.clock_mhz for placed in self.placements)

    @property
    def luts_per_lane(self) -> float:
        """Look-up tables (iCE40: logic cells) of the whole accelerator over its layers' lanes."""
        cells = self.resources["ICESTORM_LC" if self.build.board else "TRELLIS_COMB"]
        return cells / sum(self.build.lanes)

    @property
    def effective_gops(self) -> float:
        """Effective GOp/s at the median clock: 2 operations for each product of a dense network."""
        return 2 * self.dense_macs_per_step / self.cycles_per_step * self.median_mhz / 1000

    def as_json(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return {
            **asdict(self),
            "best_mhz": round(self.best_mhz, 1),
            "median_mhz": round(self.median_mhz, 1),
            "luts_per_lane": round(self.luts_per_lane, 1),
            "effective_gops": round(self.effective_gops, 2),
        }

    @classmethod
    def of_json(cls, entry: dict[str, Any]) -> FpgaResult:
        """Read what :meth:`as_json` gave; EgretError if it is something else."""
        try:
            build = entry["build"]
            update = build["update_lanes"]
            return cls(
                build=FpgaBuild(
                    **{
                        **build,
                        "lanes": tuple(build["lanes"]),
                        "seeds": tuple(build["seeds"]),
                        "update_lanes": update if update is None else tuple(update),
                    }
                ),
                resources={str(name): int(count) for name, count in entry["resources"].items()},
                cycles_per_step=float(entry["cycles_per_step"]),
                dense_macs_per_step=float(entry["dense_macs_per_step"]),
                placements=tuple(Placed(**placed) for placed in entry["placements"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EgretError(f"not a result of bench-fpga: {error}") from None


def chosen_builds(names: Sequence[str], seeds: Sequence[int] | None = None) -> tuple[FpgaBuild, ...]:
    """Builds of those names (all, if there are none), with other seeds if they are given."""
    known = {build.name: build for build in BUILDS}
    for name in names:
        if name not in known:
            raise EgretError(f"build must be one of {', '.join(known)}, not {name!r}")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(BUILDS)
    return tuple(replace(build, seeds=tuple(seeds)) if seeds else build for build in chosen)


def placed_of(report: str, seed: int) -> Placed:
    """Clock and slowest path from nextpnr's JSON report.

    Raises
    ------
    EgretError
        If the text is no such report.
    """
    from egret.build.report import parse_report

    _, clock = parse_report(report)
    return Placed(seed, round(clock.achieved_mhz, 2), _slowest(json.loads(report)))


def _slowest(report: dict[str, Any]) -> str:
    """Where the slowest path begins and ends, and what it spends in logic and in wires."""
    paths = [path["path"] for path in report.get("critical_paths", []) if path["from"] == path["to"]]
    if not paths:
        return ""
    path = max(paths, key=lambda hops: sum(hop["delay"] for hop in hops))
    wires = sum(hop["delay"] for hop in path if hop["type"] == "routing")
    logic = sum(hop["delay"] for hop in path) - wires
    begin, end = (_register(cell) for cell in (path[0]["from"]["cell"], path[-1]["to"]["cell"]))
    return f"{begin} to {end}: {logic:.1f} ns logic, {wires:.1f} ns wires"


def _register(cell: str) -> str:
    """The design's name for a cell, as far as it has one."""
    for mark in ("_TRELLIS_FF", "_LUT4", "_PFUMX", "_L6MUX21", "_CCU2C", "$", "_WRE", "_SB_"):
        cell = cell.split(mark)[0]
    return cell.rstrip("._0123456789") or cell


def run_builds(
    builds: Sequence[FpgaBuild], *, samples: int, console: Console, done: Callable[[FpgaResult], None]
) -> None:
    """Build, place and simulate each of `builds`; call `done` with each result."""
    for build in builds:
        with tempfile.TemporaryDirectory(prefix="egret-bench-") as folder:
            done(_run(build, samples, Path(folder), console))


def _run(build: FpgaBuild, samples: int, folder: Path, console: Console) -> FpgaResult:
    from amaranth.back import verilog

    from egret.build.report import cells_of_statistics, predicted_usage
    from egret.build.tools import run_tool, shown_stage
    from egret_hw.accelerator import Accelerator
    from egret_hw.blocks.family import ECP5, Family
    from egret_hw.config import AcceleratorConfig

    if build.board is not None:
        from egret.bench_board import run_board

        return run_board(build, samples, folder, console)
    image, sequences = network(build.network, samples)
    config = AcceleratorConfig(lanes=build.lanes, update_lanes=build.update_lanes)
    cycles, macs = simulated(build.name, image, sequences, config, console)
    with shown_stage(f"{build.name}: generation", console):
        design = Accelerator(image, config)
        text = verilog.convert(design, name="accelerator", emit_src=False, platform=Family(ECP5))
        (folder / "accelerator.v").write_text(text)
        (folder / "clock.lpf").write_text(f'FREQUENCY PORT "clk" {build.aim_mhz} MHz;\n')
    script = (
        "read_verilog accelerator.v; synth_ecp5 -top accelerator -json accelerator.json; "
        "tee -q -o statistics.json stat -json"
    )
    run_tool(
        "yosys",
        ["-p", script],
        title=f"{build.name}: synthesis",
        log=folder / "yosys.log",
        directory=folder,
        console=console,
    )
    cells = cells_of_statistics((folder / "statistics.json").read_text())
    resources = {usage.resource: usage.used for usage in predicted_usage(cells, build.device)}
    placements = []
    for seed in build.seeds:
        run_tool(
            "nextpnr-ecp5",
            [
                f"--{build.device[-3:-1]}k",
                *("--package", build.package, "--speed", "6", "--seed", str(seed)),
                *("--placer", build.placer),
                *("--json", "accelerator.json", "--lpf", "clock.lpf", "--report", "report.json"),
                *("--lpf-allow-unconstrained", "--timing-allow-fail", "--out-of-context"),
            ],
            title=f"{build.name}: place and route, seed {seed}",
            log=folder / "nextpnr.log",
            directory=folder,
            console=console,
        )
        placed = placed_of((folder / "report.json").read_text(), seed)
        console.print(f"{build.name}: seed {seed}: {placed.clock_mhz:.1f} MHz")
        placements.append(placed)
    return FpgaResult(build, resources, cycles, macs, tuple(placements))


def network(name: str, samples: int) -> tuple[NetworkImage, list[np.ndarray]]:
    """A network, and what it is played."""
    import numpy as np

    from egru.image import load_image
    from egru.testing import random_image, random_input

    if name == _TWO_LAYERS:
        rng = np.random.default_rng(1)
        image = random_image(
            rng, inputs=16, units=(128, 128), classes=10, mode="mean", weight_bits=8, activity=0.05, name=name
        )
        return image, [random_input(rng, image, 50, density=0.5) for _ in range(samples)]
    from egret.networks import shipped
    from egret.sampling import draw

    image = load_image(shipped(name))
    return image, draw(image, name, samples, seed=1)[0]


def simulated(
    name: str, image: NetworkImage, sequences: list[np.ndarray], config: Any, console: Console
) -> tuple[float, float]:
    """Cycles and dense products of a step."""
    from egret.build.tools import shown_stage
    from egret_sim.run import simulate

    with shown_stage(f"{name}: cycles in simulation", console):
        report = simulate(image, sequences, config)
    if report.problem:
        raise EgretError(f"build {name}: {report.problem}")
    return report.cycles_per_step, report.work.dense_macs / report.work.steps


def load_results(directory: Path) -> dict[str, FpgaResult]:
    """Results saved before, by build; none if there is no file."""
    path = directory / JSON
    if not path.is_file():
        return {}
    try:
        entries = read_report(path)["builds"]
        results = [FpgaResult.of_json(entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise EgretError(f"{path} is no result of bench-fpga ({error}); remove it") from None
    return {result.build.name: result for result in results}


def save_results(results: dict[str, FpgaResult], directory: Path) -> None:
    """Write the results as JSON and Markdown, in the order of :data:`BUILDS`; nothing is half-written."""
    order = [build.name for build in BUILDS]
    sorted_results = [results[name] for name in order if name in results]
    figures = {"builds": [result.as_json() for result in sorted_results]}
    write_pages(directory, {JSON: as_json(figures), MARKDOWN: markdown(sorted_results)})


HEADINGS: tuple[str, ...] = (
    "build",
    "device",
    "network",
    "lanes",
    "clock, MHz: median",
    "best",
    "LUTs",
    "flip-flops",
    "block RAMs",
    "multipliers",
    "LUTs / lane",
    "cycles / step",
    "effective GOp/s",
)


def row_of(result: FpgaResult) -> tuple[str, ...]:
    """A result as a row under :data:`HEADINGS`."""
    build, resources = result.build, result.resources
    return (
        build.name,
        build.device,
        build.network,
        " + ".join(str(lanes) for lanes in build.lanes),
        f"{result.median_mhz:.1f}",
        f"{result.best_mhz:.1f}",
        *(f"{resources[name]}" for name in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D")),
        f"{result.luts_per_lane:.0f}",
        f"{result.cycles_per_step:.1f}",
        f"{result.effective_gops:.1f}",
    )


#: Of the builds of whole boards: the logic cells hold a look-up table and a flip-flop each.
BOARD_HEADINGS: tuple[str, ...] = (
    "build",
    "board",
    "network",
    "products / cycle",
    "clock, MHz: needed",
    "median",
    "best",
    "logic cells",
    "block RAMs",
    "single-port RAMs",
    "multipliers",
    "cycles / step",
    "effective GOp/s",
)


def board_row_of(result: FpgaResult) -> tuple[str, ...]:
    """The result of a board's build as a row under :data:`BOARD_HEADINGS`."""
    from egret.build.boards import CAPACITY, board_named

    build = result.build
    assert build.board is not None
    names = ("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "ICESTORM_DSP")
    return (
        build.name,
        f"{build.board} ({build.device})",
        build.network,
        f"{sum(build.lanes)}",
        f"{board_named(build.board).clock_hz / 1e6:.0f}",
        f"{result.median_mhz:.1f}",
        f"{result.best_mhz:.1f}",
        *(f"{result.resources[name]} of {CAPACITY[build.device][name]}" for name in names),
        f"{result.cycles_per_step:.1f}",
        f"{result.effective_gops:.2f}",
    )


def tables(results: Sequence[FpgaResult]) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Results as tables, those that are not empty: title, headings, rows."""
    alone = [row_of(result) for result in results if result.build.board is None]
    boards = [board_row_of(result) for result in results if result.build.board is not None]
    both = [("clock and size on ECP5", HEADINGS, alone), ("whole boards", BOARD_HEADINGS, boards)]
    return [table for table in both if table[2]]


def markdown(results: Sequence[FpgaResult]) -> str:
    """The page of results."""
    lines = [
        "# Clock and size on FPGAs",
        "",
        "Written by `make bench-fpga`: the complete accelerator with counters and readout, placed and routed",
        "out of context with open tools for ECP5, speed grade 6. LUTs are what the netlist takes: a carry",
        "cell counts as two, a distributed memory as four. Cycles per step are those of the RTL in",
        "simulation: shipped networks on real test data, the others on random input. Effective GOp/s are",
        "2 x dense products per step / cycles per step x median clock. A board's build is its whole",
        "bitstream: the accelerator in the board's form without counters, link, serial port and clock.",
    ]
    for _, headings, rows in tables(results):
        lines += ["", "| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    for result in results:
        lines += ["", f"## {result.build.name}", "", "| seed | clock, MHz | slowest path |", "|---|---|---|"]
        lines += [f"| {p.seed} | {p.clock_mhz:.1f} | {p.slowest} |" for p in result.placements]
    return "\n".join(lines) + "\n"
