"""`egret bench`: cycles of the accelerator, predicted and in RTL, and what its multipliers do in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console, complain
from egru.writing import check_directory

from .options import seed_of


def bench(
    samples: Annotated[int, typer.Option(min=1, help="Real test sequences to play.")] = 30,
    seed: Annotated[int, seed_of("the draw and of the random patterns")] = 1,
    steps: Annotated[int, typer.Option(min=10, help="Steps of random patterns.")] = 400,
    rtl: Annotated[
        bool, typer.Option("--rtl/--no-rtl", help="Simulate RTL beside the predictions, or predict alone.")
    ] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for bench.json, bench.md and bench.svg.")
    ] = Path("docs"),
) -> None:
    """Show and save cycles per step, busy multipliers and effective / peak: shipped networks and sweeps."""
    from egret.sampling import check_seed

    check_seed(seed)
    from egret import bench as tables
    from egret_sim.build import SimulationError

    check_directory(output, (tables.JSON, tables.MARKDOWN, tables.PICTURE))
    console, progress = Console(), Console(stderr=True)
    sections = []
    try:
        with progress.status("bench") as status:

            def say(text: str) -> None:
                status.update(text)
                if not progress.is_terminal:
                    progress.print(text, soft_wrap=True)

            chosen = tables.Bench(samples=samples, seed=seed, steps=steps, rtl=rtl, say=say)
            for section in chosen.sections():
                sections.append(section)
                console.print(_table(section))
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None
    tables.save(sections, output)
    console.print(f"wrote {output / tables.MARKDOWN}", soft_wrap=True)


def _table(section) -> Table:
    table = Table(title=section.title, title_justify="left", caption=section.note, caption_justify="left")
    for number, heading in enumerate(section.headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in section.rows:
        table.add_row(*row)
    return table
