"""A build's figures as tables to read."""

from rich.table import Table

from egret.build.report import KINDS, BuildReport


def resource_table(report: BuildReport) -> Table:
    """Resources by kind, and the clock reached against the board's."""
    table = Table(title=f"{report.network} on {report.board} ({report.device})", title_justify="left")
    for heading, justify in (("resource", "left"), ("used", "right"), ("available", "right"), ("%", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for usage in report.resources:
        if usage.resource in KINDS:
            table.add_row(
                f"{usage.kind} ({usage.resource})",
                f"{usage.used}",
                f"{usage.available}",
                f"{usage.percent:.1f}",
            )
    table.add_section()
    clock = report.clock
    table.add_row(
        "clock, MHz: reached, board's",
        f"{clock.achieved_mhz:.1f}",
        f"{clock.required_mhz:.1f}",
        f"{100 * clock.required_mhz / clock.achieved_mhz:.1f}",
    )
    return table


def memory_table(report: BuildReport) -> Table:
    """Every memory of the accelerator."""
    table = Table(title=f"memories of {report.network}", title_justify="left")
    for heading in ("memory", "holds"):
        table.add_column(heading, overflow="fold")
    for heading in ("words", "bits/word", "count", "bits"):
        table.add_column(heading, justify="right")
    for memory in report.memories:
        table.add_row(
            memory["path"],
            memory["holds"],
            *(f"{memory[key]}" for key in ("words", "width", "count", "bits")),
        )
    table.add_section()
    table.add_row("all", "", "", "", "", f"{sum(memory['bits'] for memory in report.memories)}")
    return table
