"""What the commands show of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from egret.console import Console, complain

from .progress import epochs_shown

if TYPE_CHECKING:
    from pathlib import Path

    from egret.checkpoint import Checkpoint
    from egret.language import TextEvaluation
    from egret.recipes import Recipe
    from egru.image import NetworkImage
    from egru.widths import Widths


def shown(seen: TextEvaluation, unit: str) -> str:
    """Return what a text is judged by, for people."""
    return (
        f"{seen.bits:.4f} bits per character" if unit == "character" else f"perplexity {seen.perplexity:.2f}"
    )


def warn_above_limit(image: NetworkImage, recipe: Recipe) -> None:
    """Say on stderr that the epoch kept by fine-tuning is above the activity limit, if it is."""
    from egret.selection import told_above_limit

    warning = told_above_limit(image.info["figures"]["quantised"], recipe.activity_limit)
    if recipe.qat_epochs and warning:
        complain(warning)


def quantize_text(loaded: Checkpoint, path: Path, *, widths: Widths, recipe: Recipe, command: str) -> None:
    """Do what `egret quantize` does, for a text's checkpoint; write the image to ``path``."""
    from egret import tasks
    from egret.text_quantisation import quantise_text
    from egru.image import save_image

    text = tasks.load_text(loaded.task)
    label = widths.label
    with epochs_shown(f"{loaded.task} at {label}", recipe.qat_epochs) as report:
        done = quantise_text(text, loaded, bits=widths, recipe=recipe, command=command, report=report)
    save_image(done.image, path)
    table = Table(title=f"{loaded.task}: test part, {done.test.tokens} tokens")
    for heading in ("network", "test", "activity"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    rows = [("float", done.float_test), (f"{label}, as quantised", done.post_training_test)]
    if recipe.qat_epochs:
        rows.append((f"{label}, fine-tuned", done.test))
    for row, seen in rows:
        table.add_row(row, shown(seen, text.unit), " ".join(f"{a:.2%}" for a in seen.activity))
    Console().print(table)
    Console().print(f"wrote {path}", soft_wrap=True)
    warn_above_limit(done.image, recipe)
