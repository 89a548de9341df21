"""Logs of a training: a CSV file with one line per epoch, and TensorBoard's event files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egru.errors import EgretError

from .files import write_whole
from .selection import Epoch


class CsvLog:
    """Writes a CSV file anew after every epoch; a run that goes on keeps the lines of its earlier epochs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs: list[Epoch] = []

    def resumed(self, history: Sequence[Epoch]) -> None:
        """Take over the epochs of a run that goes on."""
        self.epochs = list(history)

    def __call__(self, epoch: Epoch) -> None:
        """Add an epoch."""
        self.epochs.append(epoch)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        measure = epoch.measure.key
        writer.writerow(("epoch", "loss", f"validation_{measure}", "validation_activity", "kept", "seconds"))
        for one in self.epochs:
            activity = "" if one.activity is None else one.activity
            writer.writerow((one.number, one.loss, one.value, activity, int(one.kept), one.seconds))
        write_whole(self.path, text.getvalue().encode())


class TensorBoardLog:
    """Adds the figures of every epoch to a directory that TensorBoard reads."""

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise EgretError("this log needs TensorBoard: pip install 'egret-hdl[logs]'") from None
        self.writer = SummaryWriter(str(directory))

    def __call__(self, epoch: Epoch) -> None:
        """Add an epoch."""
        figures = {
            "training/loss": epoch.loss,
            f"validation/{epoch.measure.key}": epoch.value,
            "validation/activity": epoch.activity,
            "time/seconds": epoch.seconds,
        }
        for name, value in figures.items():
            if value is not None:
                self.writer.add_scalar(name, value, epoch.number)
        self.writer.flush()

    def close(self) -> None:
        """Close the log's file."""
        self.writer.close()


class Together:
    """Several reports as one."""

    def __init__(self, *reports: Any) -> None:
        self.reports = reports

    def __call__(self, epoch: Epoch) -> None:
        """Tell every report of an epoch."""
        for report in self.reports:
            report(epoch)

    def batch(self, done: int, of: int) -> None:
        """Tell every report that wants to know of a batch."""
        self._each("batch", done, of)

    def resumed(self, history: Sequence[Epoch]) -> None:
        """Tell every report that wants to know of the epochs of a run that goes on."""
        self._each("resumed", history)

    def _each(self, name: str, *arguments: Any) -> None:
        for report in self.reports:
            if hasattr(report, name):
                getattr(report, name)(*arguments)
