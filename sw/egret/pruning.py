"""Magnitude pruning of weights by what the hardware fetches: whole rows of a source, or blocks of a row.

The weights that leave one source (an input, or a unit that fires) lie in one row of 3N numbers, gate g of
unit u at position 3u + g, as many numbers to a memory word as the tile has lanes (docs/architecture.md). A
row or a word of zeros alone would not have to be fetched; the present hardware fetches it. So blocks of
neighbouring positions are kept or removed as a whole, those with the smallest sum of squares first.

Pruning goes in rounds, as in S. Han et al., "Learning both weights and connections for efficient neural
networks", NeurIPS 2015: remove, train on, remove more. Removed weights stay at zero, in fine-tuning of the
quantised network, too: they get no gradient, and neither Adam nor weight decay moves a zero without one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egru import Network
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.quant import QuantNetwork

from .checkpoint import Checkpoint
from .recipes import Recipe
from .tasks import Task
from .training import Phase, Report, fit


@dataclass(frozen=True)
class Pruning:
    """What to remove, and how.

    Attributes
    ----------
    density
        Share of blocks that are left in each matrix, above 0 and at most 1.
    block
        Neighbouring numbers of a row that are kept or removed together; 0 for the whole row. Input weights
        are not pruned by whole rows, as that would leave out inputs.
    rounds
        Times that blocks are removed; the density falls by the same factor each time.
    epochs
        Epochs of training after each.
    """

    density: float
    block: int = 8
    rounds: int = 3
    epochs: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise EgretError(f"density must be above 0 and at most 1, not {self.density!r}")
        if type(self.block) is not int or self.block < 0:
            raise EgretError(f"block must be an integer of at least 0, not {self.block!r}")
        for name in ("rounds", "epochs"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise EgretError(f"{name} must be an integer of at least 1, not {value!r}")

    def options(self) -> str:
        """Return the options of `egret prune` that ask for this."""
        values = dataclasses.asdict(self)
        return " ".join(f"--{name} {value}" for name, value in values.items())


def rows_of(weight: Tensor) -> Tensor:
    """Rows of sources (sources x 3N), in the hardware's order, of a weight matrix 3N x sources."""
    gates, sources = weight.shape
    return weight.reshape(3, gates // 3, sources).permute(2, 1, 0).reshape(sources, gates)


def blocks_of(weight: Tensor, block: int) -> Tensor:
    """Blocks of rows (sources x blocks x numbers) of a matrix; a row's last block is filled with zeros."""
    rows = rows_of(weight)
    width = block or rows.shape[1]
    return nn.functional.pad(rows, (0, -rows.shape[1] % width)).reshape(len(rows), -1, width)


def strongest(weight: Tensor, density: float, block: int) -> Tensor:
    """Mask (0 or 1, the matrix's shape) of the strongest blocks, ``density`` of them, at least one.

    Of equally strong blocks the first stays.
    """
    blocks = blocks_of(weight.detach(), block)
    strength = blocks.double().square().sum(2)
    count = max(1, round(density * strength.numel()))
    kept = torch.zeros(strength.numel(), dtype=weight.dtype)
    kept[strength.flatten().argsort(descending=True, stable=True)[:count]] = 1
    gates, sources = weight.shape
    rows = kept.reshape(*strength.shape, 1).expand_as(blocks).reshape(sources, -1)[:, :gates]
    return rows.reshape(sources, gates // 3, 3).permute(2, 1, 0).reshape(gates, sources)


def weights_of(network: nn.Module, block: int = 1) -> list[Tensor]:
    """Weight matrices that are pruned: recurrent, and with blocks of rows input weights, too."""
    if not isinstance(network, (Network, QuantNetwork)):
        raise EgretError("only a model of kind egru can be pruned")
    egru = network.egru
    matrices: list[Tensor] = []
    for k in range(egru.num_layers):
        p = egru.layer_parameters(k)
        matrices += [p.weight_hh] if block == 0 else [p.weight_ih, p.weight_hh]
    return matrices


def prune_(network: nn.Module, density: float, block: int) -> None:
    """Put all but the strongest blocks of a network to zero."""
    with torch.no_grad():
        for weight in weights_of(network, block):
            weight.mul_(strongest(weight, density, block))


@contextmanager
def zeros_kept(network: nn.Module) -> Iterator[None]:
    """While it lasts, weights that are zero now get no gradient, and so stay at zero.

    A network without a zero among its weights is not touched at all.
    """
    hooks = []
    for weight in weights_of(network):
        mask = (weight.detach() != 0).to(weight.dtype)
        if not mask.all():
            hooks.append(weight.register_hook(lambda gradient, mask=mask: gradient * mask))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def prune(
    task: Task, checkpoint: Checkpoint, pruning: Pruning, recipe: Recipe, report: Report | None = None
) -> Checkpoint:
    """Prune a checkpoint's network in rounds, and train it on after each. The test part is not touched.

    The epoch kept of each round, the network as just pruned among them, is the best on the validation part.
    """
    network = checkpoint.network()
    phase = Phase(pruning.epochs, recipe.qat_learning_rate, (0.0, 0.0), start_counts=True)
    for number in range(1, pruning.rounds + 1):
        prune_(network, pruning.density ** (number / pruning.rounds), pruning.block)
        with zeros_kept(network):
            best = fit(network, task, recipe, phase, seed=checkpoint.seed + number, report=report)
    figures = {
        "epoch": best.number,
        "validation_accuracy": best.accuracy,
        "validation_activity": best.activity,
        "pruning": dataclasses.asdict(pruning),
    }
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return dataclasses.replace(checkpoint, recipe=recipe, weights=weights, figures=figures)


def image_density(image: NetworkImage, block: int) -> float:
    """Share of blocks of all layers' weights in which an integer is not zero: what a fetch cannot skip."""
    left = total = 0
    for layer in image.layers:
        for weight in (layer.input_weight, layer.recurrent_weight):
            some = blocks_of(torch.from_numpy(weight.copy()), block).any(2)
            left, total = left + int(some.sum()), total + some.numel()
    return left / total
