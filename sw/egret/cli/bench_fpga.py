"""`egret bench-fpga`: clock and size of the accelerator on FPGAs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.writing import check_directory


def bench_fpga(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="A build to make, by name; again for more. By default all."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of the placements, 0 to 2147483647, with commas; by default each build's own."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Sequences to simulate for cycles per step.")] = 30,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for bench-fpga.json and bench-fpga.md.")
    ] = Path("docs"),
) -> None:
    """Synthesise, place and route a fixed list of accelerators; report clock, size and effective GOp/s.

    Results of builds that are not made now stay as they were.
    """
    from egret import bench_fpga as bench
    from egret.recipes import parse_seeds
    from egret.sampling import check_seed

    chosen = None if seeds is None else [check_seed(seed) for seed in parse_seeds(seeds)]
    builds = bench.chosen_builds(only or [], chosen)
    check_directory(output, (bench.JSON, bench.MARKDOWN))
    results = bench.load_results(output)

    def done(result: bench.FpgaResult) -> None:
        results[result.build.name] = result
        bench.save_results(results, output)

    bench.run_builds(builds, samples=samples, console=Console(stderr=True), done=done)
    console = Console()
    for title, headings, rows in bench.tables([results[build.name] for build in builds]):
        table = Table(title=title, title_justify="left")
        for name in ("", *(row[0] for row in rows)):
            table.add_column(name, justify="right" if name else "left")
        for number, heading in enumerate(headings[1:], start=1):
            table.add_row(heading, *(row[number] for row in rows))
        console.print(table)
    console.print(f"wrote {output / bench.MARKDOWN}", soft_wrap=True)
