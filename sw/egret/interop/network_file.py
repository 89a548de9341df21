"""A float network without a task in one file: safetensors, with its construction in the header."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from egret.books import recipe
from egret.checkpoint import FORMAT as CHECKPOINT_FORMAT
from egret.checkpoint import Checkpoint, build, check_room, for_hardware, load_checkpoint
from egret.files import header_of, write_whole
from egret.tasks import Task, Text
from egret.torch_tensors import check_finite, misfit, read_tensors
from egru import Network
from egru.errors import EgretError
from egru.options import Options
from egru.untrusted import brief, shown

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
    what = f"network {shown(path)}"
    if header.get("version") != VERSION:
        raise EgretError(f"{what} must have version {VERSION}, not {brief(header.get('version'))}")
    header, weights = read_tensors("network", path)
    check_finite(what, weights)
    try:
        network = _filled(header, weights)
    except (EgretError, TypeError) as error:
        raise EgretError(f"{what} must be complete: {error}") from None
    return network.eval()


def _filled(header: dict[str, Any], weights: dict[str, Tensor]) -> Network:
    """Make the network of a header and fill in its weights."""

    def size(name: str) -> int:
        value = header.get(name)
        if type(value) is not int or value < 1:
            raise EgretError(f"{name} must be an integer of at least 1, not {brief(value)}")
        return value

    inputs, units, classes = size("input_size"), size("hidden_size"), size("num_classes")
    layers = size("num_layers")
    if layers > len(weights):
        raise EgretError(f"num_layers must not be more than there are tensors, {brief(layers)}")
    options = header.get("options")
    known = {entry.name for entry in dataclasses.fields(Options)}
    if not isinstance(options, dict) or set(options) - known:
        raise EgretError(f"options must be an object of {', '.join(sorted(known))}, not {brief(options)}")
    theta = weights.get("egru.theta_l0")
    if theta is None or theta.dtype not in (torch.float32, torch.float64):
        raise EgretError("egru.theta_l0 must be there, in single or double precision")
    check_room("the tensors must fit", weights, inputs, (units,) * layers, classes)
    network = Network(
        inputs, units, classes, layers, readout=header.get("readout", ""), dtype=theta.dtype, **options
    )
    if reason := misfit(network, weights):
        raise EgretError(reason)
    network.load_state_dict(weights)
    return network


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
