"""How training shows its progress: a bar on a terminal, a line now and then elsewhere. All on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from egret.training import Epoch

LINES = 10  #: lines that a run prints where no terminal can show a bar


@contextmanager
def epochs_shown(label: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function to call after every epoch of a training run of ``epochs`` epochs."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TextColumn("{task.fields[seen]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    line = bar.add_task(label, total=epochs, seen="")
    every = max(1, epochs // LINES)

    def report(epoch: Epoch) -> None:
        seen = f"loss {epoch.loss:.3f}  validation {epoch.accuracy:.1%}"
        if epoch.activity is not None:
            seen += f"  activity {epoch.activity:.1%}"
        bar.update(line, completed=epoch.number, seen=seen)
        if not console.is_terminal and (epoch.number % every == 0 or epoch.number == epochs):
            console.print(f"{label}: epoch {epoch.number}/{epochs}  {seen}", highlight=False, soft_wrap=True)

    with bar:
        yield report


def need_torch() -> None:
    """Raise EgretError if PyTorch is missing; else set it up for small networks."""
    from egru.errors import EgretError

    try:
        import torch
    except ModuleNotFoundError:
        raise EgretError("this command needs PyTorch: pip install 'egret-hdl[train]'") from None
    # Products this small run fastest on one thread, and a fixed number of threads fixes the order of sums.
    torch.set_num_threads(1)
