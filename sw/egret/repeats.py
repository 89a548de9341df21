"""The same training over several seeds: what a result is worth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from egru.image import save_image

from . import training
from .checkpoint import Checkpoint, save_checkpoint
from .files import as_json, make_directory, write_whole
from .modules import evaluate_module
from .quantisation import Quantised, quantise
from .recipes import Recipe
from .tasks import Task

Shown = Callable[[str, int], AbstractContextManager[training.Report]]


@dataclass(frozen=True)
class Repeat:
    """One seed: the network from start to image, and the dense baseline of the same size. Shares are 0..1."""

    seed: int
    checkpoint: Checkpoint
    quantised: Quantised
    gru_accuracy: float

    def row(self) -> dict[str, float]:
        """Return the figures by column: test accuracies and activity, and what the choice rests on."""
        figures = self.quantised.image.info["figures"]
        return {
            "GRU": self.gru_accuracy,
            "float": self.quantised.float_test.accuracy,
            "PTQ": self.quantised.post_training_test.accuracy,
            "QAT": self.quantised.test.accuracy,
            "activity": self.quantised.test.mean_activity,
            "validation": figures["quantised"]["validation_accuracy"],
        }


def repeat(task: Task, recipe: Recipe, seed: int, *, bits: int, shown: Shown) -> Repeat:
    """Train, quantise and measure one seed."""
    with shown(f"{task.name} gru-{recipe.units} seed {seed}", recipe.epochs) as report:
        dense = training.train(task, recipe, model="gru", seed=seed, report=report)
    with shown(f"{task.name} egru-{recipe.units} seed {seed}", recipe.epochs) as report:
        checkpoint = training.train(task, recipe, seed=seed, report=report)
    command = f"{checkpoint.command} && egret quantize {task.name}-egru-{seed}.safetensors --bits {bits}"
    with shown(f"{task.name} at {bits} bits seed {seed}", recipe.qat_epochs) as report:
        quantised = quantise(task, checkpoint, bits=bits, command=command, report=report)
    return Repeat(seed, checkpoint, quantised, evaluate_module(dense.network(), task.test).accuracy)


def best_on_validation(repeats: Sequence[Repeat]) -> Repeat:
    """Return the repeat whose image is most accurate on the validation part; the quieter of equals."""
    return max(repeats, key=lambda r: (r.row()["validation"], -r.row()["activity"]))


def table_of(task: str, recipe: Recipe, bits: int, repeats: Sequence[Repeat]) -> Table:
    """Make the table of all seeds, with mean and (sample) standard deviation."""
    rows = [r.row() for r in repeats]
    table = Table(title=f"{task}: test part, {recipe.units} units, {bits}-bit weights")
    table.add_column("seed", no_wrap=True)
    for column in rows[0]:
        table.add_column(column, justify="right", no_wrap=True)
    best = best_on_validation(repeats)
    for one, row in zip(repeats, rows, strict=True):
        mark = " *" if one is best else ""
        table.add_row(f"{one.seed}{mark}", *(f"{v:.2%}" for v in row.values()))
    table.add_section()
    table.add_row("mean", *(f"{statistics.mean(r[c] for r in rows):.2%}" for c in rows[0]))
    if len(rows) > 1:
        table.add_row("deviation", *(f"{statistics.stdev(r[c] for r in rows):.2%}" for c in rows[0]))
    table.caption = (
        "accuracies on the test part: dense GRU, float, quantised after training (PTQ), fine-tuned (QAT); "
        "activity of the last; validation accuracy of the last, by which * is best"
    )
    return table


def save_repeats(repeats: Sequence[Repeat], directory: Path) -> None:
    """Write every checkpoint and image, and the rows as ``seeds.json``, into ``directory``."""
    make_directory(directory)
    for one in repeats:
        stem = f"{one.checkpoint.task}-egru-{one.seed}"
        save_checkpoint(one.checkpoint, directory / f"{stem}.safetensors")
        save_image(one.quantised.image, directory / f"{stem}.egret")
    rows = [{"seed": one.seed, **one.row()} for one in repeats]
    write_whole(directory / "seeds.json", as_json(rows))
