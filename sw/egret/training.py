"""Training: one loop for the float network, the dense baseline and the quantised network, on any objective.

The loss is the objective's plus an activity pressure, ``pressure * max(0, activity - target)``. The
activity is the share of units that fire, taken from the spikes, which have a surrogate gradient; so the
pressure really trains. It is ramped in: a network pressed from the first step settles where it is quiet
and wrong. With an ``activity_floor`` there is a pressure against silence from the first step on,
``pressure * max(0, floor - activity)``. The epoch to keep is chosen on the validation part alone.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from egru.errors import EgretError

from .checkpoint import Checkpoint, build
from .classification import Classification
from .language import LanguageModelling, TextTask
from .objective import Objective, whole_loss
from .optimiser import clip, is_threshold, optimiser_of, set_rate
from .recipes import Recipe
from .schedules import Phase, learning_rate_at, pressure_at
from .selection import Epoch, better, waited_enough, within_limit
from .state import Keeper, Run
from .tasks import Task
from .team import ALONE, Team

__all__ = ["Epoch", "Phase", "Report", "fit", "objective_of", "train"]

#: Called after every epoch. Of an object that has them, ``batch(done, of)`` is called within an epoch, and
#: ``resumed(history)`` with the epochs before when a training goes on.
Report = Callable[[Epoch], None]


def clamp_thresholds(network: nn.Module) -> None:
    """Keep every threshold where the hardware can hold it: at least one payload step, at most 1."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if is_threshold(name):
                value.clamp_(2.0**-8, 1.0)


def objective_of(task: Task | TextTask, recipe: Recipe, seed: int, team: Team = ALONE) -> Objective:
    """Return the objective that a task is trained by."""
    if isinstance(task, Task):
        return Classification(task, recipe, seed, team)
    return LanguageModelling(task, recipe, team)


def _judged(network: nn.Module, objective: Objective, number: int, loss: float, team: Team) -> Epoch:
    value, activity = team.shared(objective.judge(network) if team.rank == 0 else None)
    return Epoch(number, loss, value, activity, kept=False, measure=objective.measure)


def fit(
    network: nn.Module,
    task: Task | TextTask,
    recipe: Recipe,
    phase: Phase,
    *,
    seed: int,
    report: Report | None = None,
    keeper: Keeper | None = None,
    team: Team = ALONE,
) -> Epoch:
    """Train ``network`` in place, and leave it with the weights of the best epoch, which is returned.

    With ``keeper`` the training goes on from the state that it has, if any, and leaves its state there after
    every epoch, before that is reported. With a ``team`` every process calls this with its own copy of the
    network. Raises EgretError if the loss stops being a finite number.
    """
    objective = objective_of(task, recipe, seed, team)
    network.to(team.device)
    called = team.wrapped(network)
    optimizer = optimiser_of(network, recipe, phase.learning_rate)
    run = Run(network, optimizer, np.random.default_rng(seed), objective.generators)
    if keeper is not None and keeper.restore(run):
        _told_history(report, run)
    elif phase.start_counts:
        run.best = replace(_judged(network, objective, 0, math.nan, team), kept=True)
        run.weights = copy.deepcopy(network.state_dict())
    while not _over(run, phase, recipe):
        number = len(run.history) + 1
        start = time.perf_counter()
        mean_loss = _one_epoch(run, called, objective, recipe, phase, report, team)
        _check_finite(network, mean_loss, number, phase)
        epoch = _judged(network, objective, number, mean_loss, team)
        if better(epoch, run.best, recipe.activity_limit, run.history):
            epoch = replace(epoch, kept=True)
            # deepcopy, for a quantised network has formats among its tensors
            run.best, run.weights = epoch, copy.deepcopy(network.state_dict())
        epoch = replace(epoch, seconds=round(time.perf_counter() - start, 3))
        run.history.append(epoch)
        if keeper is not None:
            keeper.save(run)
        if report:
            report(epoch)
    if run.best is None:
        raise EgretError(f"epochs must be at least 1, not {phase.epochs}")
    network.load_state_dict(run.weights)
    network.eval()
    return run.best


def _check_finite(network: nn.Module, loss: float, number: int, phase: Phase) -> None:
    """Raise EgretError, before anything is judged or saved, if the loss or a parameter is not finite."""
    names = (name for name, value in network.named_parameters() if not value.detach().isfinite().all())
    odd = next(names, None)
    if math.isfinite(loss) and odd is None:
        return
    what = f"the loss is {loss}" if odd is None else f"{odd} holds NaN or infinity"
    raise EgretError(
        f"training diverged in epoch {number}, as {what}: "
        f"the learning rate must be below {phase.learning_rate:g}"
    )


def _over(run: Run, phase: Phase, recipe: Recipe) -> bool:
    """Whether every epoch is done, or no better one is to be waited for."""
    number = len(run.history)
    if number >= phase.epochs:
        return True
    # As long as none is within the limit, a better one is what pressure is for.
    met = run.best is not None and within_limit(run.best, recipe.activity_limit)
    return run.best is not None and met and waited_enough(number, run.best, phase, recipe.patience)


def _one_epoch(
    run: Run,
    called: nn.Module,
    objective: Objective,
    recipe: Recipe,
    phase: Phase,
    report: Report | None,
    team: Team,
) -> float:
    """Train over every batch once; return the mean loss, with pressure."""
    batches = objective.batches_per_epoch()
    tick = getattr(report, "batch", None)
    losses: list[float] = []
    run.network.train()
    for batch in objective.epoch(run.rng):
        progress = run.step / (phase.epochs * batches)
        set_rate(run.optimizer, learning_rate_at(phase.learning_rate, progress, recipe.warmup))
        done = objective.step(called, batch)
        pressure = pressure_at(phase, progress, recipe.pressure)
        lift = recipe.pressure if recipe.activity_floor else 0.0
        loss = whole_loss(
            done, pressure, recipe.activity_target, team, lift=lift, floor=recipe.activity_floor
        )
        run.optimizer.zero_grad()
        team.backward(loss)
        clip(run.network, recipe)
        run.optimizer.step()
        clamp_thresholds(run.network)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) and team.size == 1:  # of a team, all stop together after the epoch
            return losses[-1]
        run.step += 1
        if tick:
            tick(len(losses), batches)
    mean = float(np.mean(losses))
    return mean if team.size == 1 else float(team.total(torch.tensor(mean, device=team.device))) / team.size


def _told_history(report: Report | None, run: Run) -> None:
    resumed = getattr(report, "resumed", None)
    if resumed:
        resumed(list(run.history))


def train(
    task: Task | TextTask,
    recipe: Recipe,
    *,
    model: str = "egru",
    seed: int = 0,
    report: Report | None = None,
    state: Path | None = None,
    team: Team = ALONE,
) -> Checkpoint:
    """Train a float network for a task and return it as a checkpoint. The test part is not touched.

    ``state`` is a file that keeps the training's state from epoch to epoch. If it exists, the training goes
    on from there, and ends with the same bits as one that never stopped. It is not deleted at the end.
    """
    torch.manual_seed(seed)
    network = build(model, task.input_size, task.num_classes, recipe)
    if team.size > 1:
        torch.manual_seed(team.seed(seed))  # for dropouts, which must differ
    phase = Phase(recipe.epochs, recipe.learning_rate, (recipe.ramp_start, recipe.ramp_end))
    keeper = None
    if state is not None:
        identity = {
            "task": task.name,
            "model": model,
            "seed": seed,
            "recipe": json.loads(json.dumps(recipe.as_dict())),
            "input_size": task.input_size,
            "num_classes": task.num_classes,
            "processes": team.size,
        }
        keeper = Keeper(state, identity, team)
    best = fit(network, task, recipe, phase, seed=seed, report=report, keeper=keeper, team=team)
    return Checkpoint(
        task=task.name,
        model=model,
        seed=seed,
        recipe=recipe,
        input_size=task.input_size,
        num_classes=task.num_classes,
        weights={name: value.detach().cpu().clone() for name, value in network.state_dict().items()},
        figures=best.figures(),
    )
