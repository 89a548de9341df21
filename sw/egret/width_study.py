"""What narrower numbers cost: one float network quantised to several widths, with and without fine-tuning."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from egret.numerals import whole
from egru.errors import EgretError
from egru.image import NetworkImage, save_image
from egru.widths import Widths

from .checkpoint import Checkpoint
from .evaluation import evaluate_image
from .files import as_json, write_pages
from .modules import evaluate_module
from .quantisation import check_fits, post_training, quantise
from .recipes import Recipe
from .tasks import Task
from .training import Report

_EXPLAINED = """\
One float network per task, quantised to several widths: as it is (PTQ), fine-tuned in the hardware's
arithmetic (QAT), and the same with the weights' fractions learned (`--learn-scales`). Figures of quantised
networks are the integer model's, so the hardware's. Epochs, and the network marked with * among those of the
same widths, are chosen on the validation part; the test part is reported, and decides nothing. *Against
float* is in points of test accuracy. *Weights* counts every weight with the bits of its tensor, as the
hardware stores it. The image file keeps a byte for each, and of a fine-tuned network tells how it was made.
Widths that are not named are as usual: events 8, tables 10, inputs 8. States have 16 bits, with reset of the
output 17 ([numerics.md](numerics.md), section 2)."""

Shown = Callable[[str, int], AbstractContextManager[Report]]

#: Settings of a study unless others are asked for: weights / events / tables / inputs.
SETTINGS = ("8", "6", "4", "4,4,6/6/8/6")
MARKDOWN, JSON = "quantisation.md", "quantisation.json"
HEADINGS = (
    "widths", "network", "validation", "test", "against float", "activity", "weights, byte", "file, byte",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One network: shares are 0..1. A float network has no image, so no file and no fractions."""

    widths: str
    network: str  # float, PTQ, QAT, QAT with learned scales
    validation: float
    test: float
    activity: float  # mean over the layers, test part
    weight_bytes: int
    file_bytes: int | None
    fractions: tuple[int, ...]  # input, recurrent weights by layer, then readout
    chosen: bool  # best of its widths on the validation part


def parse_setting(text: str) -> Widths:
    """Read widths as ``weights/events/tables/inputs``; parts from the end may be left out.

    Raises EgretError, naming the setting, if it is no such text or a width is out of range.
    """
    parts = text.split("/")
    try:
        numbers = [tuple(whole(n) for n in part.split(",")) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 4 or (len(numbers) == 4 and len(numbers[3]) != 1):
        raise EgretError(
            f"setting must be weights/events/tables/inputs, numbers with commas, as 4,4,8/6/8/8, not {text!r}"
        )
    names = ("weight_bits", "event_bits", "table_bits")
    chosen: dict[str, Any] = dict(zip(names, numbers, strict=False))
    if len(numbers) == 4:
        chosen["input_bits"] = numbers[3][0]
    try:
        return Widths.of(**chosen)
    except EgretError as error:
        raise EgretError(f"setting {text!r}: {error}") from None


def weight_bytes(image: NetworkImage) -> int:
    """Bytes of all weights as the hardware holds them: each of the bits of its tensor, rounded up once."""
    bits = image.readout.weight.size * image.readout.spec.weight_bits
    for layer in image.layers:
        bits += layer.input_weight.size * layer.spec.input_weight_bits
        bits += layer.recurrent_weight.size * layer.spec.recurrent_weight_bits
    return -(-bits // 8)


def file_bytes(image: NetworkImage) -> int:
    """Bytes of the image as a file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.egret"
        save_image(image, path)
        return path.stat().st_size


def study(
    task: Task, checkpoint: Checkpoint, settings: Sequence[Widths], recipe: Recipe, shown: Shown
) -> Iterator[list[Row]]:
    """Quantise a checkpoint to every setting: as it is, fine-tuned, and fine-tuned with learned scales.

    Yields the row of the float network, and then the rows of each setting as soon as they are measured.
    Of each setting the network that is best on the validation part is marked; of equals the first. The
    test part is only reported.
    """
    check_fits(checkpoint, task)
    for widths in settings:
        widths.check_layers(checkpoint.recipe.layers)
    network = checkpoint.network()
    matrices = sum(p.numel() for p in network.parameters() if p.ndim == 2)
    seen, test = evaluate_module(network, task.validation), evaluate_module(network, task.test)
    yield [
        Row(
            "float32",
            "float",
            seen.accuracy,
            test.accuracy,
            test.mean_activity,
            4 * matrices,
            None,
            (),
            False,
        )
    ]
    for widths in settings:
        yield _mark_best(list(_variants(task, checkpoint, widths, recipe, shown)))


def _variants(
    task: Task, checkpoint: Checkpoint, widths: Widths, recipe: Recipe, shown: Shown
) -> Iterator[Row]:
    def row(name: str, image: NetworkImage) -> Row:
        seen, test = evaluate_image(image, task.validation), evaluate_image(image, task.test)
        fractions = [
            frac
            for layer in image.layers
            for frac in (layer.spec.input_weight_frac, layer.spec.recurrent_weight_frac)
        ]
        return Row(
            widths.label, name, seen.accuracy, test.accuracy, test.mean_activity, weight_bytes(image),
            file_bytes(image), (*fractions, image.readout.spec.weight_frac), False,
        )  # fmt: skip

    yield row("PTQ", post_training(checkpoint, widths).to_image(task.name))
    for name, learn in (("QAT", False), ("QAT, scales learned", True)):
        with shown(f"{task.name}, {widths.label}: {name}", recipe.qat_epochs) as report:
            chosen = recipe.but(learn_scales=learn)
            done = quantise(task, checkpoint, bits=widths, recipe=chosen, report=report)
        yield row(name, done.image)


def _mark_best(rows: Sequence[Row]) -> list[Row]:
    best = int(np.argmax([r.validation for r in rows]))
    return [Row(**{**vars(r), "chosen": i == best}) for i, r in enumerate(rows)]


def cells(row: Row, reference: Row) -> tuple[str, ...]:
    """Return a row as text; ``reference`` is the float network's."""
    points = 100 * (row.test - reference.test)
    return (
        row.widths,
        row.network + (" *" if row.chosen else ""),
        f"{row.validation:.2%}",
        f"{row.test:.2%}",
        "" if row is reference else f"{points:+.2f}",
        f"{row.activity:.2%}",
        f"{row.weight_bytes:,}",
        "" if row.file_bytes is None else f"{row.file_bytes:,}",
    )


def table_of(name: str, rows: Sequence[Row]) -> Table:
    """Make the table of one network for a terminal."""
    table = Table(title=name, caption="* best of its widths on the validation part")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right")
    for row in rows:
        if row.network == "PTQ":
            table.add_section()
        table.add_row(*cells(row, rows[0]))
    return table


def machine() -> dict[str, Any]:
    """Describe what the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return {"processor": name, "cores": os.cpu_count(), "torch": torch.__version__}


def markdown(studies: Sequence[tuple[str, Recipe, Sequence[Row]]], command: str) -> str:
    """All tables as one page."""
    where = machine()
    lines = [
        "# Quantisation",
        "",
        f"Written by `{command}`. Machine: {where['processor']}, {where['cores']} cores, one thread; "
        f"PyTorch {where['torch']}.",
        "",
        _EXPLAINED,
    ]
    for name, recipe, rows in studies:
        lines += [
            "",
            f"## {name}",
            "",
            f"Fine-tuned for up to {recipe.qat_epochs} epochs, learning rate {recipe.qat_learning_rate:g}.",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "| --- | --- |" + " ---: |" * (len(HEADINGS) - 2),
        ]
        lines += ["| " + " | ".join(cells(row, rows[0])) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def save(studies: Sequence[tuple[str, Recipe, Sequence[Row]]], command: str, directory: Path) -> None:
    """Write the page and the same as JSON into ``directory``; each appears complete or not at all."""
    networks = [
        {"network": name, "recipe": recipe.as_dict(), "rows": [vars(row) for row in rows]}
        for name, recipe, rows in studies
    ]
    figures = {"command": command, "machine": machine(), "networks": networks}
    write_pages(directory, {JSON: as_json(figures, 1), MARKDOWN: markdown(studies, command)})
