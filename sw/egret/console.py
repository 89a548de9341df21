"""What the commands show: texts from outside are shown as they are, and never obeyed.

A name, a path or another program's message may hold what Rich takes for markup or for an emoji's name, or
what a terminal takes for an order. All that is shown goes through here.
"""

from __future__ import annotations

import contextlib
import sys

import rich.console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.status import Status
from rich.text import Text


def printable(text: object) -> str:
    """Return a text in which what no terminal can show is escaped as in Python; lines stay lines."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def complain(problem: object) -> None:
    """Say on standard error what is wrong."""
    with contextlib.suppress(OSError):  # where nobody hears it, the exit status must do
        if sys.stderr is not None:
            print(f"egret: {printable(problem)}", file=sys.stderr, flush=True)


class Console(rich.console.Console):
    """Rich's console, to which a string is a text; who wants colour gives a ``rich.text.Text``."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False)

    def render_str(self, text: str, *, style="", justify=None, overflow=None, **_) -> Text:
        """Make a string, also one in a table, what is shown."""
        return Text(printable(text), style=style, justify=justify, overflow=overflow)

    def on_broken_pipe(self) -> None:
        """Leave it to the command, which has an exit status for it, that nobody reads."""
        raise

    def status(self, text: str, **options) -> Status:  # type: ignore[override]
        """Turn a spinner beside a text."""
        return _Status(text, console=self, **options)


class _Status(Status):
    def __init__(self, text: str, **options) -> None:
        super().__init__(Text(printable(text)), **options)

    def update(self, text=None, **options) -> None:  # type: ignore[override]
        super().update(None if text is None else Text(printable(text)), **options)


class Label(TextColumn):
    """A column of a progress bar that shows a text of its task, such as ``{task.description}``."""

    def render(self, task: Task) -> Text:
        """Make the text what is shown."""
        return Text(printable(self.text_format.format(task=task)))


def progress_bar(console: Console, *columns: ProgressColumn | str) -> Progress:
    """Return a progress bar that vanishes at its end, and shows nothing where there is no terminal."""
    made = (Label(column) if isinstance(column, str) else column for column in columns)
    return Progress(*made, console=console, transient=True, disable=not console.is_terminal)
