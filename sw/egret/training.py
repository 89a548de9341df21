"""Training: one loop for the float network, the dense baseline and the quantised network.

The loss is cross entropy plus an activity pressure, ``pressure * max(0, activity - target)``. The
activity is the share of units that fire, taken from the spikes, which have a surrogate gradient; so the
pressure really trains. It is ramped in: a network pressed from the first step settles where it is quiet
and wrong. The epoch to keep is chosen on the validation part alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from egru.errors import EgretError

from .augmentation import Augmentation
from .batches import batches_per_epoch, bucketed
from .checkpoint import Checkpoint, build
from .modules import evaluate_module
from .recipes import Recipe
from .tasks import Task


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; ``accuracy`` and ``activity`` are of the validation part."""

    number: int  # from 1
    loss: float  # mean over the training part, with pressure
    accuracy: float
    activity: float | None  # mean over the layers, 0..1; None for a network without events
    kept: bool  # the best so far


Report = Callable[[Epoch], None]


@dataclass(frozen=True)
class Phase:
    """The part of a recipe that differs between float training and fine-tuning."""

    epochs: int
    learning_rate: float
    ramp: tuple[float, float]  # shares of the epochs; (0, 0) presses from the start
    start_counts: bool = False  # whether the network as it comes may be kept, as epoch 0


def pressure_at(phase: Phase, progress: float, full: float) -> float:
    """Return the weight of the activity pressure at ``progress`` (0..1) of a phase."""
    start, end = phase.ramp
    if progress < start:
        return 0.0
    return full if progress >= end else full * (progress - start) / (end - start)


def learning_rate_at(peak: float, progress: float, warmup: float) -> float:
    """Return the learning rate at ``progress`` (0..1): a linear rise, then half a cosine to zero."""
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))


def mean_activity(spikes: list[Tensor], lengths: Tensor) -> Tensor:
    """Return the share of units that fire; spikes are T x B x H per layer, zero beyond ``lengths``."""
    steps = lengths.sum()
    return torch.stack([s.sum() / (steps * s.shape[-1]) for s in spikes]).mean()


def _groups(network: nn.Module, decay: float) -> list[dict]:
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def clamp_thresholds(network: nn.Module) -> None:
    """Keep every threshold where the hardware can hold it: at least one payload step, at most 1."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.rpartition(".")[2].startswith("theta"):
                value.clamp_(2.0**-8, 1.0)


def better(candidate: Epoch, best: Epoch | None, limit: float) -> bool:
    """Whether an epoch is to be kept: within the activity limit first, then by validation accuracy.

    Of two epochs above the limit the quieter is better; of two equally accurate ones within it, the later.
    """
    if best is None:
        return True
    if candidate.activity is None or best.activity is None:
        return candidate.accuracy >= best.accuracy
    within, best_within = candidate.activity <= limit, best.activity <= limit
    if within != best_within:
        return within
    return candidate.accuracy >= best.accuracy if within else candidate.activity <= best.activity


def _judge(
    network: nn.Module, task: Task, number: int, loss: float, best: Epoch | None, limit: float
) -> Epoch:
    """Evaluate a network on the validation part, and say whether it is better than the best so far."""
    seen = evaluate_module(network, task.validation)
    activity = seen.mean_activity if seen.activity else None
    epoch = Epoch(number, loss, seen.accuracy, activity, kept=False)
    return replace(epoch, kept=better(epoch, best, limit))


def fit(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    phase: Phase,
    *,
    seed: int,
    report: Report | None = None,
) -> Epoch:
    """Train ``network`` in place, and leave it with the weights of the best epoch, which is returned.

    Raises EgretError if the loss stops being a finite number.
    """
    rng = np.random.default_rng(seed)
    augment = Augmentation(task, recipe, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=phase.learning_rate)
    total = phase.epochs * batches_per_epoch(len(task.train), recipe.batch_size)
    step = 0
    best: Epoch | None = None
    weights: dict = {}
    if phase.start_counts:
        best = _judge(network, task, 0, math.nan, None, recipe.activity_limit)
        weights = copy.deepcopy(network.state_dict())
    for number in range(1, phase.epochs + 1):
        network.train()
        losses: list[float] = []
        for chosen in bucketed(task.train, recipe.batch_size, rng):
            progress = step / total
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(phase.learning_rate, progress, recipe.warmup)
            x, lengths = (torch.from_numpy(a) for a in task.train.padded(chosen))
            output = network(augment(x), lengths)
            labels = torch.from_numpy(task.train.y[chosen])
            loss = functional.cross_entropy(
                output.logits.float(), labels, label_smoothing=recipe.label_smoothing
            )
            spikes = list(getattr(output, "spikes", ()) or ())
            pressure = pressure_at(phase, progress, recipe.pressure)
            if spikes and pressure:
                loss = loss + pressure * functional.relu(
                    mean_activity(spikes, lengths) - recipe.activity_target
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            clamp_thresholds(network)
            losses.append(loss.item())
            step += 1
        mean_loss = float(np.mean(losses))
        if not math.isfinite(mean_loss):
            raise EgretError(
                f"training diverged in epoch {number}: the learning rate must be below {phase.learning_rate}"
            )
        epoch = _judge(network, task, number, mean_loss, best, recipe.activity_limit)
        if epoch.kept:
            # deepcopy, for a quantised network has formats among its tensors
            best, weights = epoch, copy.deepcopy(network.state_dict())
        if report:
            report(epoch)
    if best is None:
        raise EgretError(f"epochs must be at least 1, not {phase.epochs}")
    network.load_state_dict(weights)
    network.eval()
    return best


def train(
    task: Task, recipe: Recipe, *, model: str = "egru", seed: int = 0, report: Report | None = None
) -> Checkpoint:
    """Train a float network for a task and return it as a checkpoint. The test part is not touched."""
    torch.manual_seed(seed)
    network = build(model, task.input_size, task.num_classes, recipe)
    phase = Phase(recipe.epochs, recipe.learning_rate, (recipe.ramp_start, recipe.ramp_end))
    best = fit(network, task, recipe, phase, seed=seed, report=report)
    return Checkpoint(
        task=task.name,
        model=model,
        seed=seed,
        recipe=recipe,
        input_size=task.input_size,
        num_classes=task.num_classes,
        weights={name: value.detach().clone() for name, value in network.state_dict().items()},
        figures={
            "epoch": best.number,
            "validation_accuracy": best.accuracy,
            "validation_activity": best.activity,
        },
    )
