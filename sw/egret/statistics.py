"""Activity and work of a network over a part of a task, layer by layer, forward and backward."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egru import Network, NetworkImage, load_image
from egru.image import FORMAT as IMAGE_FORMAT
from egru.statistics import LayerStatistics, Work, measure, measure_image

from .checkpoint import FORMAT as CHECKPOINT_FORMAT
from .evaluation import check_data, check_sizes
from .files import header_of
from .interop.network_file import load_network
from .language import COLUMNS
from .tasks import Task, Text

BATCH = 64  #: sequences per pass; counts do not depend on it
IMAGE_COLUMNS = 8  #: columns of a text per pass of the integer model, likewise


@dataclass(frozen=True)
class Opened:
    """A float network or a network image, and what its file says of it."""

    network: Network | NetworkImage
    task: str | None
    eps: float  #: slope of the surrogate gradient that it was trained with; 1 where an image does not say


def open_network(path: Path) -> Opened:
    """Open a network image, a checkpoint or a network of `egret import`; EgretError for other files."""
    header = header_of(path)
    kind = header.get("format")
    if kind == IMAGE_FORMAT:
        image = load_image(path)
        recipe = image.info.get("recipe")
        eps = recipe.get("eps", 1.0) if isinstance(recipe, dict) else 1.0
        return Opened(image, image.info.get("task"), eps)
    network = load_network(path)
    return Opened(network, header["task"] if kind == CHECKPOINT_FORMAT else None, network.egru.options.eps)


@dataclass(frozen=True)
class Statistics:
    """Counts over a part of a task.

    Attributes
    ----------
    layers
        One entry per layer, over all steps of all sequences.
    eps
        Slope of the surrogate gradient that was counted.
    """

    layers: tuple[LayerStatistics, ...]
    eps: float

    @property
    def steps(self) -> int:
        """Steps of all sequences."""
        return self.layers[0].steps

    @property
    def work(self) -> Work:
        """MACs of all layers."""
        return reduce(add, (layer.work for layer in self.layers))

    def as_dict(self) -> dict[str, Any]:
        """Every count and share, ready for JSON; MACs are sums over all steps."""
        layers = []
        for layer in self.layers:
            shares = ("input_activity", "activity", "surrogate_activity", "backward_activity")
            layers.append(
                asdict(layer) | {n: getattr(layer, n) for n in shares} | {"macs": macs_as_dict(layer.work)}
            )
        return {"eps": self.eps, "steps": self.steps, "layers": layers, "macs": macs_as_dict(self.work)}


def macs_as_dict(work: Work) -> dict[str, int]:
    """Every MAC count by name, the sums included."""
    derived = (
        "weight_gradient",
        "weight_gradient_dense",
        "forward",
        "forward_dense",
        "backward",
        "backward_dense",
    )
    return asdict(work) | {name: getattr(work, name) for name in derived}


def collect(opened: Opened, task: Task, split: str, *, eps: float | None = None) -> Statistics:
    """Count over one part of a task; raises EgretError if the network does not take the task's inputs."""
    _check(opened.network, task)
    network, sequences = opened.network, task.part(split)
    eps = opened.eps if eps is None else eps
    order = np.argsort(sequences.lengths, kind="stable")
    found: list[list[LayerStatistics]] = []
    for first in range(0, len(order), BATCH):
        x, lengths = sequences.padded(order[first : first + BATCH])
        if isinstance(network, NetworkImage):
            found.append(measure_image(network, network.input.format.quantise(x), lengths, eps=eps))
        else:
            values = torch.from_numpy(x).to(network.egru.layer_parameters(0).theta.dtype)
            found.append(measure(network, values, torch.from_numpy(lengths), eps=eps))
    return _total(found, eps)


@torch.no_grad()
def collect_text(
    opened: Opened, text: Text, split: str, *, eps: float | None = None, window: int = 100
) -> Statistics:
    """Count over one part of a text, one-hot, in the columns in which `egret.language.evaluate_text` reads.

    A float network reads window after window of ``window`` steps with its state carried; the gradient, which
    is counted, ends where a window starts. An image reads every column as one sequence.
    """
    _check(opened.network, text)
    network = opened.network
    eps = opened.eps if eps is None else eps
    columns = text.columns(split, max(1, min(COLUMNS, len(text.part(split)) // 2)))
    one_hot = np.eye(text.input_size, dtype=np.float32)
    found: list[list[LayerStatistics]] = []
    if isinstance(network, NetworkImage):
        for first in range(0, columns.shape[1], IMAGE_COLUMNS):
            x = network.input.format.quantise(one_hot[columns[:, first : first + IMAGE_COLUMNS]])
            found.append(measure_image(network, x, eps=eps))
        return _total(found, eps)
    state = None
    dtype = network.egru.layer_parameters(0).theta.dtype
    for first in range(0, len(columns), window):
        values = torch.from_numpy(one_hot[columns[first : first + window]]).to(dtype)
        found.append(measure(network, values, state=state, eps=eps))
        state = network.egru(values, state)[1]
    return _total(found, eps)


def _check(network: Network | NetworkImage, task: Task | Text) -> None:
    if isinstance(network, NetworkImage):
        check_data(network, task)
    else:
        check_sizes(network.egru.input_size, network.num_classes, task)


def _total(found: list[list[LayerStatistics]], eps: float) -> Statistics:
    """Add up the layers of several batches."""
    return Statistics(tuple(reduce(add, layers) for layers in zip(*found, strict=True)), eps)
