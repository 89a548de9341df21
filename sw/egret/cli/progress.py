"""How training shows its progress: a bar on a terminal, a line now and then elsewhere. All on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TimeRemainingColumn,
)

from egret.console import Console, progress_bar

if TYPE_CHECKING:
    from egret.training import Epoch

LINES = 10  #: lines that a run prints where no terminal can show a bar


class Shown:
    """Shows a training run of ``epochs`` epochs: call it after every epoch, and `batch` within one."""

    def __init__(self, label: str, epochs: int, console: Console, bar: Progress) -> None:
        self.label = label
        self.epochs = epochs
        self.console = console
        self.bar = bar
        self.line = bar.add_task(label, total=epochs, seen="")
        self.inner: TaskID | None = None
        self.every = max(1, epochs // LINES)

    def batch(self, done: int, of: int) -> None:
        """Show that ``done`` of an epoch's ``of`` batches are done."""
        if not self.console.is_terminal:
            return
        if self.inner is None:
            self.inner = self.bar.add_task("  batches", total=of, seen="")
        self.bar.update(self.inner, completed=done, total=of)

    def __call__(self, epoch: Epoch) -> None:
        """Show what an epoch gave."""
        seen = f"loss {epoch.loss:.3f}  validation {epoch.measure.shown(epoch.value)}"
        if epoch.activity is not None:
            seen += f"  activity {epoch.activity:.1%}"
        self.bar.update(self.line, completed=epoch.number, seen=seen)
        if not self.console.is_terminal and (epoch.number % self.every == 0 or epoch.number == self.epochs):
            line = f"{self.label}: epoch {epoch.number}/{self.epochs}  {seen}"
            self.console.print(line, soft_wrap=True)


@contextmanager
def epochs_shown(label: str, epochs: int) -> Iterator[Shown]:
    """Yield what shows a training run of ``epochs`` epochs."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), "{task.description}", BarColumn(), MofNCompleteColumn())
    bar = progress_bar(console, *columns, "{task.fields[seen]}", TimeRemainingColumn())
    with bar:
        yield Shown(label, epochs, console, bar)


def need_torch(threads: int = 1) -> None:
    """Raise EgretError if PyTorch is missing; else let it compute by ``threads`` threads."""
    from egru.errors import EgretError

    try:
        import torch
    except ModuleNotFoundError:
        raise EgretError("this command needs PyTorch: pip install 'egret-hdl[train]'") from None
    # Small products run fastest on one thread, and a fixed number of threads fixes the order of sums.
    torch.set_num_threads(threads)
