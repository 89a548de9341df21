"""`egret mutate`: faults planted in the generated design, and how many the bench catches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console, complain
from egru.writing import check_output

from .options import seed_of


def mutate(
    mutants: Annotated[int, typer.Option(help="Faults to plant, spread over all modules.")] = 400,
    seed: Annotated[int, seed_of("the choice of faults, and of the vectors")] = 1,
    module: Annotated[
        str | None, typer.Option(help="Only in modules whose path holds this, such as layer0.gather.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Simulations at once.")] = 2,
    report: Annotated[
        Path | None, typer.Option(help="JSON file with every fault; by default build/mutation.json.")
    ] = None,
) -> None:
    """Plant faults in the generated design, play runs through each, and report which are caught.

    Then each width of the arithmetic is made a bit narrower, and played networks that take it to its end.

    Exit status: 0 if 95 % of the faults that change something are caught, and every narrow width; 1 if fewer
    are; 2 on bad input.
    """
    from egret.sampling import check_seed

    check_seed(seed)
    from egret.mutation_score import TARGET_PERCENT, run, save
    from egret_sim.build import SimulationError, build_root
    from egret_sim.mutation.campaign import VERDICTS

    path = check_output(report or build_root() / "mutation.json")
    try:
        score = run(mutants, seed=seed, module=module, jobs=jobs, console=Console(stderr=True))
    except SimulationError as error:
        complain(error)
        raise typer.Exit(1) from None
    save(score, path)
    console = Console()
    table = Table(title=f"{len(score.faults)} faults, seed {seed}", title_justify="left")
    table.add_column("")
    table.add_column("faults", justify="right")
    for kind, count in score.by_kind.items():
        table.add_row(f"{kind}: {VERDICTS[kind]}", str(count))
    table.add_row("caught", str(score.caught))
    proved = sum(fault.proved for fault in score.faults)
    table.add_row("proved to change nothing", str(proved))
    table.add_row("change nothing, and the reason is listed", str(len(score.equivalent) - proved))
    table.add_row("survived", str(len(score.survivors)))
    console.print(table)
    for fault in score.survivors:
        console.print(f"survived: {fault.design}, {fault.mutant}", soft_wrap=True)
    console.print(f"caught of those that change something: {score.percent:.1f} %")
    if score.widths:
        found = len(score.widths) - len(score.wide_enough)
        console.print(f"widths a bit too narrow: {found} of {len(score.widths)} caught")
    console.print(f"wrote {path}", soft_wrap=True)
    if score.percent < TARGET_PERCENT:
        complain(f"{score.percent:.1f} % caught, not {TARGET_PERCENT} %")
        raise typer.Exit(1)
    if score.wide_enough:
        names = ", ".join(verdict.width for verdict in score.wide_enough)
        complain(f"a bit less of these widths was not noticed: {names}")
        raise typer.Exit(1)
