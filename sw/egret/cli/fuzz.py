"""`egret fuzz`: random accelerators against the integer model; what fails is made small and kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from egret.console import Console, complain

if TYPE_CHECKING:
    from egret_sim.fuzz.campaign import Result, Totals
    from egret_sim.fuzz.case import Case
    from egret_sim.fuzz.coverage import Counting, Coverage


def fuzz(
    configurations: Annotated[int, typer.Option(min=1, help="Accelerators to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed draws the same accelerators; 0 to 2^63 - 1.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first one.")] = 0,
    steps: Annotated[
        int, typer.Option(min=50, help="Steps for each; a network with slow steps gets fewer.")
    ] = 2500,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; by default one for each core.")
    ] = None,
    keep: Annotated[Path, typer.Option(help="Directory for cases that fail.")] = Path("build/fuzz-cases"),
    shrink_tries: Annotated[
        int, typer.Option(min=0, help="Tries to make a failing case small; 0 = keep it as it is.")
    ] = 400,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Go on after a failure.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Count cover points; one that is never hit is a failure.")
    ] = False,
    code_coverage: Annotated[
        bool, typer.Option("--code-coverage", help="Count lines and toggles of the Verilog as well.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Play real data to this task's shipped network, too; may be given twice."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Test sequences of each such task.")] = 30,
    replay: Annotated[Path | None, typer.Option(help="Run a kept case (its .json file) instead.")] = None,
) -> None:
    """Draw whole accelerators, play random sequences to them, and compare every event and every logit."""
    from egret.recipes import check_seed

    check_seed(seed)
    from egret_sim.fuzz.campaign import Totals, run_campaign
    from egret_sim.fuzz.coverage import Counting

    if replay is not None:
        _replay(replay)
        return
    counting = Counting.NOTHING
    if coverage or code_coverage:
        counting = Counting.CODE if code_coverage else Counting.POINTS
    console = Console(stderr=True)
    totals, interrupted = Totals(), False
    with console.status("fuzz") as status:

        def show(result: Result) -> None:
            text = f"{totals.configurations} of {configurations} configurations, {totals.steps} steps"
            status.update(text)
            if not console.is_terminal:
                state = "clean" if result.verdict.passed else "FAILED"
                line = f"{text}; last: number {result.number}, {state}, {result.description}"
                console.print(line, soft_wrap=True)

        def show_shipped(result: Result) -> None:
            totals.add(result)
            show(result)

        try:
            for name in task or []:
                status.update(f"{name}: the shipped network on real data")
                show_shipped(_shipped(name, samples, seed, counting))
            run_campaign(
                totals,
                configurations,
                seed=seed,
                first=first,
                steps=steps,
                jobs=jobs or os.cpu_count() or 1,
                coverage=counting,
                stop_at_failure=not keep_going,
                progress=show,
            )
        except KeyboardInterrupt:
            interrupted = True  # what was done so far is shown
    Console().print(_table(totals, seed))
    for result in totals.failed:
        if result.number < 0:
            complain(f"{result.description}: {result.verdict.problem}")
            continue
        _keep(result, seed, steps, keep, shrink_tries)
    if interrupted:
        complain(f"interrupted after {totals.configurations} configurations")
    missing: list[str] = []
    if counting:
        missing = totals.coverage.missing
        Console().print(_coverage_table(totals.coverage))
        if missing:
            complain(f"{len(missing)} cover points were never hit: {'; '.join(missing)}")
    if interrupted or not totals.passed or missing:
        if not totals.failed and not totals.values:
            complain("nothing was compared")
        raise typer.Exit(1)


def _shipped(task: str, samples: int, seed: int, counting: Counting) -> Result:
    """The sequences that `egret simulate` plays to a shipped network, without and with stalls."""
    from egret.sampling import draw, network_and_task
    from egret_hw.config import AcceleratorConfig
    from egret_sim.cosimulation import Stalls
    from egret_sim.fuzz.campaign import Result
    from egret_sim.fuzz.case import Case, Phase
    from egret_sim.fuzz.check import Bench

    network, name = network_and_task(None, task)
    sequences = tuple(draw(network, name, samples, seed)[0])
    phases = (Phase(sequences, seed), Phase(sequences, seed, Stalls(), Stalls()))
    case = Case(network, AcceleratorConfig(), phases)
    with Bench(coverage=counting) as bench:
        return Result(-1, f"{name}: {case.describe()}", bench.check(case))


def _table(totals: Totals, seed: int) -> Table:
    table = Table("", "", title=f"Fuzz, seed {seed}", title_justify="left", show_header=False)
    table.columns[1].justify = "right"
    rows: list[tuple[str, object]] = [
        ("configurations", totals.configurations),
        ("steps compared", totals.steps),
        ("values compared", totals.values),
        ("cycles", totals.cycles),
        ("failed", len(totals.failed)),
    ]
    rows += [(f"seconds, {stage}", f"{spent:.1f}") for stage, spent in totals.seconds.items()]
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _coverage_table(coverage: Coverage) -> Table:
    from egret_sim.fuzz.coverage import KINDS, POINTS

    table = Table("cover point", "count", title="Coverage", title_justify="left")
    table.columns[1].justify = "right"
    for name in POINTS:
        table.add_row(name, str(coverage.points[name]))
    for kind in KINDS:
        if coverage.there[kind]:
            table.add_row(f"Verilator: {kind}", f"{coverage.percent(kind):.1f} % of {coverage.there[kind]}")
    return table


def _keep(result: Result, seed: int, steps: int, directory: Path, tries: int) -> None:
    """Make a failing case small, save it, and say how to replay it."""
    from egret_sim.fuzz.case import save_case
    from egret_sim.fuzz.check import Bench
    from egret_sim.fuzz.comparison import EMPTY
    from egret_sim.fuzz.draw import draw_case
    from egret_sim.fuzz.shrink import Shrunk
    from egret_sim.fuzz.shrink import shrink as make_small

    case, problem = draw_case(seed, result.number, steps), str(result.verdict.problem)
    complain(f"configuration {result.number} of seed {seed}: {problem}")
    found = Shrunk(case, problem, 0)
    if tries:
        console = Console(stderr=True)
        with console.status(f"shrinking configuration {result.number}") as status, Bench() as bench:

            def fails(smaller: Case) -> str | None:
                verdict = bench.check(smaller)
                # A case that fails for another reason, such as a full disk, leads nowhere.
                if verdict.broken != result.verdict.broken or verdict.problem == EMPTY != problem:
                    return None
                return verdict.problem

            found = make_small(case, problem, fails, tries=tries, progress=status.update)
    notes = {
        "problem": found.problem,
        "seed": seed,
        "number": result.number,
        "steps": steps,
        "drawn": result.description,
        "tries": found.tries,
    }
    path = save_case(found.case, directory, f"seed{seed}-{result.number}", notes)
    complain(f"{found.case.describe()}: {found.problem}")
    complain(f"replay it with: egret fuzz --replay {path}")


def _replay(path: Path) -> None:
    from egret_sim.fuzz.case import load_case
    from egret_sim.fuzz.check import check_case

    case = load_case(path)
    console = Console(stderr=True)
    with console.status(f"{path.name}: {case.describe()}"):
        verdict = check_case(case)
    Console().print(case.describe(), soft_wrap=True)
    Console().print(f"{verdict.steps} steps and {verdict.values} values compared", soft_wrap=True)
    if not verdict.passed:
        complain(f"{verdict.problem}")
        raise typer.Exit(1)
