"""Training: one loop for the float network, the dense baseline and the quantised network, on any objective.

The loss is the objective's plus an activity pressure, ``pressure * max(0, activity - target)``. The
activity is the share of units that fire, taken from the spikes, which have a surrogate gradient; so the
pressure really trains. It is ramped in: a network pressed from the first step settles where it is quiet
and wrong. The epoch to keep is chosen on the validation part alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from egru.errors import EgretError

from .checkpoint import Checkpoint, build
from .classification import Classification
from .language import LanguageModelling, TextTask
from .objective import Objective, mean_activity
from .recipes import Recipe
from .schedules import Phase, learning_rate_at, pressure_at
from .selection import Epoch, better, waited_enough
from .tasks import Task

__all__ = ["Epoch", "Phase", "Report", "fit", "objective_of", "train"]

#: Called after every epoch. If it has an attribute ``batch``, that is called as batch(done, of) within one.
Report = Callable[[Epoch], None]


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


def objective_of(task: Task | TextTask, recipe: Recipe, seed: int) -> Objective:
    """Return the objective that a task is trained by."""
    if isinstance(task, Task):
        return Classification(task, recipe, seed)
    return LanguageModelling(task, recipe)


def _judged(network: nn.Module, objective: Objective, number: int, loss: float) -> Epoch:
    value, activity = objective.judge(network)
    return Epoch(number, loss, value, activity, kept=False, measure=objective.measure)


def fit(
    network: nn.Module,
    task: Task | TextTask,
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
    objective = objective_of(task, recipe, seed)
    optimizer = torch.optim.AdamW(_groups(network, recipe.weight_decay), lr=phase.learning_rate)
    batches = objective.batches_per_epoch()
    tick = getattr(report, "batch", None)
    step = 0
    best: Epoch | None = None
    weights: dict = {}
    if phase.start_counts:
        best = replace(_judged(network, objective, 0, math.nan), kept=True)
        weights = copy.deepcopy(network.state_dict())
    for number in range(1, phase.epochs + 1):
        network.train()
        losses: list[float] = []
        for batch in objective.epoch(rng):
            progress = step / (phase.epochs * batches)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(phase.learning_rate, progress, recipe.warmup)
            done = objective.step(network, batch)
            loss = done.loss
            pressure = pressure_at(phase, progress, recipe.pressure)
            if done.spikes and pressure:
                activity = mean_activity(done.spikes, done.lengths)
                loss = loss + pressure * functional.relu(activity - recipe.activity_target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            clamp_thresholds(network)
            losses.append(loss.item())
            step += 1
            if tick:
                tick(len(losses), batches)
        mean_loss = float(np.mean(losses))
        if not math.isfinite(mean_loss):
            raise EgretError(
                f"training diverged in epoch {number}: the learning rate must be below {phase.learning_rate}"
            )
        epoch = _judged(network, objective, number, mean_loss)
        if better(epoch, best, recipe.activity_limit):
            epoch = replace(epoch, kept=True)
            # deepcopy, for a quantised network has formats among its tensors
            best, weights = epoch, copy.deepcopy(network.state_dict())
        if report:
            report(epoch)
        if best is not None and waited_enough(number, best, phase, recipe.patience):
            break
    if best is None:
        raise EgretError(f"epochs must be at least 1, not {phase.epochs}")
    network.load_state_dict(weights)
    network.eval()
    return best


def train(
    task: Task | TextTask,
    recipe: Recipe,
    *,
    model: str = "egru",
    seed: int = 0,
    report: Report | None = None,
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
        figures=best.figures(),
    )
