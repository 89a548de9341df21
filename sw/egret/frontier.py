"""Accuracy against activity against weight density: what both kinds of sparsity cost together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .evaluation import evaluate_image
from .files import as_json, write_pages
from .picture import new_figure, svg
from .pruning import Pruning, image_density, prune
from .quantisation import check_fits, post_training
from .tasks import Task
from .training import Report
from .width_study import machine

Shown = Callable[[str, int], AbstractContextManager[Report]]

MARKDOWN, JSON, PICTURE = "sparsity.md", "sparsity.json", "sparsity.svg"
HEADINGS = ("density asked", "activity asked", "density", "activity", "validation", "test", "work")

_EXPLAINED = """\
Each float network was pruned by magnitude in rounds (`egret prune`) and trained on under the pressure of an
activity target. Then it was quantised to 8-bit weights, without fine-tuning; all figures are the integer
model's. *Density* is the share of blocks of weights with a number that is not zero, *activity* the mean
share of units that fire in a step of the test part. *Work* is the product of both as a share of the first
row's: rows of sources that fired, times what is left of a row. The present hardware skips silent sources,
and fetches blocks of zeros. Epochs are chosen on the validation part; the test part is reported, and
decides nothing."""


@dataclass(frozen=True)
class Point:
    """One network: shares, 0..1."""

    density_asked: float
    activity_asked: float
    density: float
    activity: float
    validation: float
    test: float

    @property
    def work(self) -> float:
        """Share of a dense layer's recurrent products that is left."""
        return self.density * self.activity


def points(
    task: Task,
    checkpoint: Checkpoint,
    densities: Sequence[float],
    activities: Sequence[float],
    pruning: Pruning,
    shown: Shown,
) -> Iterator[Point]:
    """Prune a checkpoint to every density under every activity target; a point as soon as it is measured.

    A density of 1 is trained on for as many epochs as the others. Epochs with an activity of at most 1.5
    times the target come first; see `egret.training.better`. Training takes the kernels that are fastest.
    """
    check_fits(checkpoint, task)
    for activity in activities:
        limit = min(1.0, 1.5 * activity)
        recipe = checkpoint.recipe.but(activity_target=activity, activity_limit=limit, kernel="auto")
        start = dataclasses.replace(checkpoint, recipe=recipe)
        for density in densities:
            wanted = dataclasses.replace(pruning, density=density)
            label = f"{task.name}, density {density:g}, activity {activity:g}"
            with shown(label, pruning.epochs) as report:
                pruned = prune(task, start, wanted, recipe, report)
            image = post_training(pruned).to_image(task.name)
            seen, test = evaluate_image(image, task.validation), evaluate_image(image, task.test)
            left = image_density(image, pruning.block)
            yield Point(density, activity, left, test.mean_activity, seen.accuracy, test.accuracy)


def cells(point: Point, reference: Point) -> tuple[str, ...]:
    """Return a point as text; ``reference`` is the first one."""
    return (
        f"{point.density_asked:g}",
        f"{point.activity_asked:.1%}",
        f"{point.density:.1%}",
        f"{point.activity:.2%}",
        f"{point.validation:.2%}",
        f"{point.test:.2%}",
        f"{point.work / reference.work:.1%}",
    )


Studies = Sequence[tuple[str, Sequence[Point]]]


def markdown(studies: Studies, pruning: Pruning, command: str) -> str:
    """All points as one page."""
    where = machine()
    blocks = f"blocks of {pruning.block} numbers of a row" if pruning.block else "whole rows"
    lines = [
        "# Sparsity on both axes",
        "",
        f"Written by `{command}`. Machine: {where['processor']}, {where['cores']} cores, one thread; "
        f"PyTorch {where['torch']}. "
        f"Pruned were {blocks}, in {pruning.rounds} rounds of {pruning.epochs} epochs.",
        "",
        _EXPLAINED,
        "",
        f"![accuracy over activity and density]({PICTURE})",
    ]
    for name, measured in studies:
        lines += ["", f"## {name}", "", "| " + " | ".join(HEADINGS) + " |", "|" + " ---: |" * len(HEADINGS)]
        lines += ["| " + " | ".join(cells(p, measured[0])) + " |" for p in measured]
    return "\n".join(lines) + "\n"


def draw(studies: Studies) -> bytes:
    """Test accuracy over activity, one line per density, one plot per network; as SVG."""
    figure = new_figure(5 * len(studies), 4)
    for axes, (name, measured) in zip(
        figure.subplots(1, len(studies), squeeze=False)[0], studies, strict=True
    ):
        for density in dict.fromkeys(p.density_asked for p in measured):
            line = sorted((100 * p.activity, 100 * p.test) for p in measured if p.density_asked == density)
            axes.plot(*zip(*line, strict=True), "o-", label=f"{density:.0%} of weights")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("units that fire, %")
        axes.set_ylabel("test accuracy, %")
        axes.grid(True, linewidth=0.3)
        axes.legend(fontsize=8)
    return svg(figure)


def save(studies: Studies, pruning: Pruning, command: str, directory: Path) -> None:
    """Write page, figures and picture into ``directory``; each appears complete or not at all."""
    networks: list[dict[str, Any]] = [
        {"network": name, "points": [dataclasses.asdict(p) for p in measured]} for name, measured in studies
    ]
    figures = {
        "command": command,
        "machine": machine(),
        "pruning": {k: v for k, v in dataclasses.asdict(pruning).items() if k != "density"},
        "networks": networks,
    }
    page = markdown(studies, pruning, command)
    write_pages(directory, {PICTURE: draw(studies), JSON: as_json(figures, 1), MARKDOWN: page})
