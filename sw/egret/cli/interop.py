"""`egret import` and `egret export`: networks from other libraries, and to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from egret.console import Console
from egru.errors import EgretError
from egru.writing import beside, check_output

from .progress import need_torch

SOURCES = ("evnn", "gru")
FORMATS = ("onnx", "evnn")


def import_network(
    source: Annotated[str, typer.Argument(help="evnn (the EGRU authors' library) or gru (torch.nn.GRU).")],
    state_dict: Annotated[Path, typer.Argument(help="State dict: a safetensors file, or one of torch.save.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Network; by default the state dict's name, .egret.safetensors."),
    ] = None,
    zoneout: Annotated[float, typer.Option(help="evnn: the zoneout that its layers were made with.")] = 0.0,
    theta_mean: Annotated[float, typer.Option(help="gru: mean of the new thresholds.")] = 0.3,
    readout: Annotated[
        str | None, typer.Option(help="Name of the linear readout; by default one of the usual names.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="What the readout answers: mean, last or every (step).")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Classes of a fresh readout, where there is none.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of what is new: thresholds, a fresh readout; 0 to 2^63 - 1.")
    ] = 0,
    task: Annotated[
        str | None, typer.Option(help="Write a checkpoint for this task, which `egret quantize` takes.")
    ] = None,
) -> None:
    """Make a float network from a state dict of another library. No code in the file is ever run."""
    from egret import tasks
    from egret.recipes import check_seed

    if source not in SOURCES:
        raise EgretError(f"source must be one of {', '.join(SOURCES)}, not {source!r}")
    if source == "gru" and zoneout:
        raise EgretError("zoneout is of evnn alone: a torch.nn.GRU has none")
    check_seed(seed)
    if task is not None:
        tasks.is_text(task)
    need_torch()
    import torch

    from egret.checkpoint import save_checkpoint
    from egret.interop.evnn import import_evnn
    from egret.interop.gru import import_gru
    from egret.interop.network_file import checkpoint_of, save_network
    from egret.interop.state_dict import read_state_dict

    path = check_output(output or beside(state_dict, ".egret.safetensors"), state_dict)
    tensors = read_state_dict(state_dict)
    torch.manual_seed(seed)
    if source == "evnn":
        imported = import_evnn(tensors, zoneout=zoneout, readout=readout, mode=mode, classes=classes)
    else:
        imported = import_gru(
            tensors, theta_mean=theta_mean, readout=readout, mode=mode or "mean", classes=classes
        )
    network = imported.network
    if task is None:
        save_network(network, path, imported.notes)
    else:
        data = tasks.load_text(task) if tasks.is_text(task) else tasks.load(task)
        save_checkpoint(checkpoint_of(network, data, seed), path)
    console = Console()
    for note in imported.notes:
        console.print(f"note: {note}", soft_wrap=True)
    stack = network.egru
    console.print(
        f"{stack.input_size} inputs, {stack.num_layers} x {stack.hidden_size} units, {network.num_classes} "
        f"classes, readout {network.readout_mode}; wrote {path}",
        soft_wrap=True,
    )


def export(
    network: Annotated[
        Path, typer.Argument(help="Network of `egret import`, or checkpoint of `egret train`.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write; by default the network's name, .onnx or .evnn.pt."
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="onnx, or evnn for a state dict of EvNN.")] = "onnx",
    state: Annotated[
        bool, typer.Option("--state", help="onnx: the state comes in and goes out, for streams in pieces.")
    ] = False,
) -> None:
    """Write a float network for other libraries: an ONNX graph, or a state dict of EvNN."""
    if form not in FORMATS:
        raise EgretError(f"format must be one of {', '.join(FORMATS)}, not {form!r}")
    if state and form != "onnx":
        raise EgretError("state is of the format onnx alone: a state dict holds no state")
    need_torch()
    import io

    import torch

    from egret.files import write_whole
    from egret.interop.evnn import export_evnn
    from egret.interop.network_file import load_network
    from egret.interop.onnx_graph import to_onnx

    path = check_output(output or beside(network, ".onnx" if form == "onnx" else ".evnn.pt"), network)
    loaded = load_network(network)
    console = Console()
    if form == "onnx":
        write_whole(path, to_onnx(loaded, state=state).SerializeToString())
    else:
        buffer = io.BytesIO()
        torch.save(export_evnn(loaded), buffer)
        write_whole(path, buffer.getvalue())
        if p := loaded.egru.options.zoneout:
            console.print(f"note: give zoneout {p} to the layers: a state dict does not hold it")
    console.print(f"wrote {path}", soft_wrap=True)
