"""`egret quantize`: a network image from a float checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from egret.console import Console
from egru.writing import check_output

from .progress import epochs_shown, need_torch
from .widths_options import Bits, EventBits, InputBits, TableBits, WeightBits, chosen_widths


def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `egret train`.")],
    bits: Bits = None,
    weight_bits: WeightBits = None,
    event_bits: EventBits = None,
    table_bits: TableBits = None,
    input_bits: InputBits = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of fine-tuning; 0 for none; by default the task's recipe.")
    ] = None,
    learn_scales: Annotated[
        bool, typer.Option("--learn-scales", help="Let fine-tuning move the weights' fractions, too.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Network image; by default the checkpoint's name, .egret."),
    ] = None,
) -> None:
    """Quantise a network, fine-tune it as the hardware will compute it, and write its network image.

    The epoch is chosen on the validation part. Then the test part is used, once, by the integer model.
    """
    need_torch()
    from egret import tasks
    from egret.checkpoint import load_checkpoint
    from egret.cli.texts import quantize_text, warn_above_limit
    from egret.quantisation import quantise
    from egru.image import save_image

    chosen = chosen_widths(bits, weight_bits, event_bits, table_bits, input_bits)
    loaded = load_checkpoint(checkpoint)
    chosen.widths.check_layers(len(loaded.recipe.shape))
    recipe = loaded.recipe.but(qat_epochs=epochs, learn_scales=learn_scales or None)
    need_torch(recipe.threads)
    path = check_output(output or checkpoint.with_suffix(".egret"), checkpoint)
    command = f"{loaded.command} && egret quantize {shlex.quote(checkpoint.name)} {chosen.words}"
    if epochs is not None:
        command += f" --epochs {epochs}"
    if learn_scales:
        command += " --learn-scales"
    if tasks.is_text(loaded.task):
        quantize_text(loaded, path, widths=chosen.widths, recipe=recipe, command=command)
        return
    data = tasks.load(loaded.task)
    label = chosen.widths.label
    with epochs_shown(f"{loaded.task} at {label}", recipe.qat_epochs) as report:
        done = quantise(data, loaded, bits=chosen.widths, recipe=recipe, command=command, report=report)
    save_image(done.image, path)
    table = Table(title=f"{loaded.task}: test part, {done.test.count} sequences")
    for heading in ("network", "accuracy", "activity"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    rows = [("float", done.float_test), (f"{label}, as quantised", done.post_training_test)]
    if recipe.qat_epochs:
        rows.append((f"{label}, fine-tuned", done.test))
    for name, seen in rows:
        table.add_row(name, f"{seen.accuracy:.2%}", " ".join(f"{a:.2%}" for a in seen.activity))
    console = Console()
    console.print(table)
    console.print(f"wrote {path}", soft_wrap=True)
    warn_above_limit(done.image, recipe)
