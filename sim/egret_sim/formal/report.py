"""Tables of proofs and of what came of them."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from .proof import Proof
from .run import Result, Verdict


def listing(proofs: Iterable[Proof]) -> Table:
    """What there is to prove."""
    table = _table("proofs", ("proof", "method", "of", "says", "its twin"))
    for proof in proofs:
        table.add_row(
            proof.name,
            str(proof.method),
            proof.parameters,
            proof.says,
            proof.twin.says,
        )
    return table


def table_of(results: Iterable[Result]) -> Table:
    """What came of the proofs and of their twins."""
    table = _table("proofs", ("proof", "method", "verdict", "time", "its twin's bug", "time"))
    for result in results:
        outcome, twin = result.outcome, result.twin
        good = outcome.verdict is Verdict.PASS
        table.add_row(
            result.proof.name,
            str(result.proof.method),
            Text(outcome.verdict.value, "green" if good else "red"),
            f"{outcome.seconds:.1f} s",
            Text("found", "green") if result.caught else Text(f"not found ({twin.verdict.value})", "red"),
            f"{twin.seconds:.1f} s",
        )
    return table


def _table(title: str, headings: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "time" else "left", overflow="fold")
    return table
