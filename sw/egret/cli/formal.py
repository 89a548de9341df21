"""`egret formal`: proofs of the accelerator's components, and of the proofs by planted bugs."""

from __future__ import annotations

from typing import Annotated

import typer

from egret.console import Console, complain


def formal(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="A proof to run, by name; again for more. By default all."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the proofs and run none.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Proofs at once.")] = 2,
) -> None:
    """Prove what docs/formal.md lists; each proof must also find a bug that is planted in its twin.

    Exit status: 0 if every proof holds and finds its bug; 1 if not; 2 on bad input. Counterexamples (VCD) and
    logs are kept under build/formal.
    """
    from egret_sim.formal.proofs import PROOFS, find
    from egret_sim.formal.report import listing, table_of
    from egret_sim.formal.run import prove_all

    console = Console()
    chosen = [find(name) for name in only] if only else list(PROOFS)
    if list_:
        console.print(listing(chosen))
        return
    status = Console(stderr=True)
    results = []
    with status.status("proving") as shown:
        for result in prove_all(chosen, jobs=jobs):
            results.append(result)
            shown.update(f"proving: {len(results)} of {len(chosen)} done, last {result.proof.name}")
            if not status.is_terminal:
                status.print(f"{len(results)} of {len(chosen)}: {result.proof.name}", soft_wrap=True)
    order = [proof.name for proof in chosen]
    results.sort(key=lambda result: order.index(result.proof.name))
    console.print(table_of(results))
    problems = [result.problem for result in results if result.problem]
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)
