"""A float network without a task in one file: safetensors, with its construction in the header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save

from egret.books import recipe
from egret.checkpoint import FORMAT as CHECKPOINT_FORMAT
from egret.checkpoint import Checkpoint, build, for_hardware, load_checkpoint
from egret.files import header_of, write_whole
from egret.tasks import Task, Text
from egru import Network
from egru.errors import EgretError

FORMAT = "egret-network"
VERSION = 1


def save_network(network: Network, path: Path, notes: tuple[str, ...] = ()) -> None:
    """Write a network, with remarks for people; the file appears complete or not at all."""
    stack = network.egru
    header = {
        "format": FORMAT,
        "version": VERSION,
        "input_size": stack.input_size,
        "hidden_size": stack.hidden_size,
        "num_classes": network.num_classes,
        "num_layers": stack.num_layers,
        "readout": network.readout_mode,
        "options": asdict(stack.options),
        "notes": list(notes),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_whole(path, save(tensors, metadata={"egret": json.dumps(header)}))


def load_network(path: Path) -> Network:
    """Read a float network, in evaluation mode: a file of `save_network`, or a checkpoint of `egret train`.

    Raises EgretError for a missing, foreign or damaged file, and for a checkpoint of the dense baseline.
    """
    header = header_of(path)
    kind = header.get("format")
    if kind == CHECKPOINT_FORMAT:
        checkpoint = load_checkpoint(path)
        if checkpoint.model != "egru":
            raise EgretError(
                f"{path} must hold an EGRU, and holds the baseline {checkpoint.model}: `egret import gru` "
                "makes an EGRU of it"
            )
        return for_hardware(checkpoint)
    if kind != FORMAT:
        raise EgretError(
            f"{path} must be a file of `egret import` or `egret train`: its header does not say so"
        )
    if header.get("version") != VERSION:
        raise EgretError(f"network {path} must have version {VERSION}, not {header.get('version')!r}")
    weights = load_file(path)
    try:
        sizes = (header[name] for name in ("input_size", "hidden_size", "num_classes", "num_layers"))
        network = Network(
            *sizes, readout=header["readout"], dtype=weights["egru.theta_l0"].dtype, **header["options"]
        )
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise EgretError(f"network {path} must be complete: {error}") from error
    if odd := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise EgretError(f"{odd[0]} of network {path} must hold finite numbers only")
    return network.eval()


def checkpoint_of(network: Network, task: Task | Text, seed: int) -> Checkpoint:
    """Make a checkpoint of a network for a task, as `egret quantize` reads it; the recipe is the task's.

    Raises EgretError if the network does not fit the task, or has an option that a checkpoint cannot hold.
    """
    stack = network.egru
    for name, ours, theirs in (
        ("inputs", stack.input_size, task.input_size),
        ("classes", network.num_classes, task.num_classes),
    ):
        if ours != theirs:
            raise EgretError(f"a network for task {task.name} must have {theirs} {name}, not {ours}")
    chosen = recipe(task.name).but(
        units=stack.hidden_size,
        layers=stack.num_layers,
        sizes=(),
        readout=network.readout_mode,
        eps=stack.options.eps,
        gamma=stack.options.gamma,
    )
    made = build("egru", task.input_size, task.num_classes, chosen)
    assert isinstance(made, Network)
    differences = [
        f"{name} {theirs!r} instead of {ours!r}"
        for name, ours, theirs in (
            ("readout", made.readout_mode, network.readout_mode),
            *((k, v, getattr(stack.options, k)) for k, v in asdict(made.egru.options).items()),
        )
        if ours != theirs
    ]
    if differences:
        raise EgretError(
            f"a checkpoint for task {task.name} cannot hold {', '.join(differences)}: import without a task"
        )
    weights = {name: value.detach().float().clone() for name, value in network.state_dict().items()}
    return Checkpoint(task.name, "egru", seed, chosen, task.input_size, task.num_classes, weights)
