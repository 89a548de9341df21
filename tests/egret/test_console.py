"""Texts from outside are shown as they are: not as markup, and never as orders to the terminal."""

import io
import re
from pathlib import Path

import pytest
from rich.progress import BarColumn
from rich.table import Table

from egret import console as module
from egret.console import Console, complain, printable, progress_bar

NASTY = [
    "[/x]",
    "[red]x",
    "[bold red on blue]x[/]",
    ":smile:",
    "a[link=http://x]b",
    "\\[x]",
    "{x}",
    "[",
    "100 %",
]
ORDERS = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\bb", "\u202eevil", "\udcff", "a\x00b"]


@pytest.fixture
def shown(monkeypatch):
    """A console that writes to memory as to a terminal, and what it wrote, without our own colours."""
    monkeypatch.setenv("TERM", "xterm")
    made = Console()
    made.file, made._force_terminal, made.legacy_windows = io.StringIO(), True, False
    made.is_interactive = True
    made.width = 200
    return made, lambda: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", made.file.getvalue())


@pytest.mark.parametrize("text", NASTY)
def test_markup_is_no_markup(shown, text):
    console, got = shown
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    table.caption = text
    console.print(text)
    console.print(table)
    with console.status(text) as status:
        status.update(text)
    bar = progress_bar(console, "{task.description}", BarColumn(), "{task.fields[seen]}")
    with bar:
        bar.add_task(text, total=1, seen=text)
    assert got().count(text) >= 8


@pytest.mark.parametrize("text", ORDERS)
def test_a_terminal_gets_no_orders(shown, text, capsys):
    console, got = shown
    console.print(text)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    console.print(table)
    with console.status(text) as status:
        status.update(text)
    bar = progress_bar(console, "{task.description}", "{task.fields[seen]}")
    with bar:
        bar.add_task(text, total=1, seen=text)
    complain(text)
    for output in (got(), capsys.readouterr().err):
        assert printable(text) in output and text not in output
        # a spinner moves the cursor by these, nothing else does
        assert not {c for c in output if not c.isprintable()} - {"\n", "\r"}


def test_what_can_be_shown_is_left_alone():
    text = "größe 🐦 \\ [x]\nsecond line"
    assert printable(text) == text
    assert printable("a\tb\x1b\x7f\udcff") == "a\\tb\\x1b\\x7f\\udcff"


def test_all_that_is_shown_goes_through_one_place():
    """No other console, print or echo in the package: what comes back here comes from outside."""
    found = []
    for path in Path(module.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if path.name != "console.py" and re.search(
            r"rich\.console|from_markup|rich\.markup|typer\.echo\(", text
        ):
            found.append(path.name)
        if path.name not in ("console.py", "statistics.py") and re.search(r"(?<![.\w])print\(", text):
            found.append(path.name)
    assert found == ["main.py"]  # the version
