"""`egret bench-train`: wall-clock time of training and inference with the event-driven kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.writing import check_directory


def bench_train(
    rounds: Annotated[int, typer.Option(min=3, help="Rounds; every contender runs once in each.")] = 31,
    threads: Annotated[int, typer.Option(min=1, help="Threads of all contenders.")] = 2,
    units: Annotated[int, typer.Option(min=1, help="Units of the layer.")] = 512,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a window.")] = 100,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Count CPU time: for a busy machine, with one thread.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for bench-train.json, .md and .svg.")
    ] = Path("docs"),
) -> None:
    """Compare the event-driven kernels with dense ways to the same, and show cost over activity."""
    from egret import bench_train as bench

    check_directory(output, (bench.JSON, bench.MARKDOWN, bench.PICTURE))
    console, progress = Console(), Console(stderr=True)
    sizes = bench.Sizes(units=units, steps=steps)
    with progress.status("bench-train") as status:

        def say(text: str) -> None:
            status.update(text)
            if not progress.is_terminal:
                progress.print(text, soft_wrap=True)

        chosen = bench.TrainBench(sizes=sizes, rounds=rounds, threads=threads, cpu_time=cpu_time, say=say)
        described = bench.machine(cpu_time)
        sections = chosen.sections()
    for section in sections:
        table = Table(title=section.title, title_justify="left", caption=section.note, caption_justify="left")
        for number, heading in enumerate(section.headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
    bench.save(sections, described, output, sizes)
    console.print(f"wrote {output / bench.MARKDOWN}", soft_wrap=True)
