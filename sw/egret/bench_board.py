"""Clock and size of a board's whole bitstream, placed with several seeds.

The accelerator has more ports than a small device has pins, so it is built as `egret bitstream` builds it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    from egret.bench_fpga import FpgaBuild, FpgaResult
    from egret.console import Console


def run_board(build: FpgaBuild, samples: int, folder: Path, console: Console) -> FpgaResult:
    """Synthesise a board's top once, place it with each seed, and simulate the accelerator in its form.

    `folder` is empty, and the tools work in it. A placement slower than the board's clock is a result, too.
    Weights that are loaded take the cycles of fixed ones; so the simulation has fixed ones.
    """
    from egret.bench_fpga import FpgaResult, network, placed_of, simulated
    from egret.build.boards import board_named
    from egret.build.flow import PLACED, board_top, prepare
    from egret.build.report import parse_report
    from egret.build.tools import run_tool, shown_stage
    from egret_hw.config import AcceleratorConfig

    if build.board is None:
        raise EgretError(f"build {build.name} has no board")
    board = board_named(build.board)
    image, sequences = network(build.network, samples)
    config = AcceleratorConfig(
        lanes=build.lanes, update_lanes=build.update_lanes, weights=board.weights, compact=board.compact
    )
    cycles, macs = simulated(build.name, image, sequences, replace(config, weights="fixed"), console)
    with shown_stage(f"{build.name}: generation", console):
        commands = prepare(board_top(image, board, config), board, folder, build.seeds[0])
    (_, *synthesis), (placer, *placement) = commands[:2]  # what is left packs the bitstream
    run = partial(run_tool, log=folder / "tool.log", directory=folder, console=console)
    run("yosys", synthesis, title=f"{build.name}: synthesis")
    resources: dict[str, int] = {}
    placements = []
    for seed in build.seeds:
        arguments = [*with_seed(placement, seed), "--timing-allow-fail"]
        run(placer, arguments, title=f"{build.name}: place and route, seed {seed}")
        report = (folder / PLACED).read_text()
        placed = placed_of(report, seed)
        console.print(f"{build.name}: seed {seed}: {placed.clock_mhz:.1f} MHz")
        placements.append(placed)
        # Feed-throughs that placement adds differ from seed to seed by a few cells.
        for usage in parse_report(report)[0]:
            resources[usage.resource] = max(usage.used, resources.get(usage.resource, 0))
    return FpgaResult(build, resources, cycles, macs, tuple(placements))


def with_seed(arguments: list[str], seed: int) -> list[str]:
    """Arguments of place and route with another seed."""
    place = arguments.index("--seed") + 1
    return [*arguments[:place], str(seed), *arguments[place + 1 :]]
