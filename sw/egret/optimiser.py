"""What is updated at which rate, and how far: AdamW, and the clipping of its gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recipes import Recipe


def is_threshold(name: str) -> bool:
    """Whether a parameter of this name holds thresholds."""
    return name.rpartition(".")[2].startswith("theta")


def _parts(network: nn.Module, recipe: Recipe) -> tuple[list[Tensor], list[Tensor]]:
    """Return the parameters that move at the whole rate, and those at ``threshold_rate``; in their order."""
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    apart = {name for name, _ in trained if recipe.threshold_rate != 1.0 and is_threshold(name)}
    return [p for name, p in trained if name not in apart], [p for name, p in trained if name in apart]


def optimiser_of(network: nn.Module, recipe: Recipe, learning_rate: float) -> torch.optim.AdamW:
    """Return AdamW over a network's parameters, matrices with weight decay and the others without.

    Thresholds move at ``recipe.threshold_rate`` of the rate.
    """
    rest, slow = _parts(network, recipe)
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay, "share": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "share": 1.0},
    ]
    if slow:
        groups.append({"params": slow, "weight_decay": 0.0, "share": recipe.threshold_rate})
    return torch.optim.AdamW(groups, lr=learning_rate)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def clip(network: nn.Module, recipe: Recipe) -> None:
    """Shorten the gradient to ``recipe.clip_norm`` where it is longer.

    Thresholds that have a rate of their own are clipped by themselves: their gradient is a sum over all
    steps, which in long sequences outweighs that of everything else, and would shorten it, too.
    """
    for part in _parts(network, recipe):
        if part:
            nn.utils.clip_grad_norm_(part, recipe.clip_norm)
