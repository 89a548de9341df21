"""What each of two processes does for the tests of distributed training: python two_processes.py DIRECTORY.

Each process writes what it computed, as safetensors, under its rank; alone, as rank 0 of one.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from small_text import small_text

from egret import training
from egret.checkpoint import build
from egret.distributed import team as team_of_this
from egret.objective import whole_loss
from egret.recipes import Recipe
from egret.tasks import Task
from egret.team import Team

LABELLED = Recipe(units=8, epochs=3, batch_size=15, noise=0.0, activity_target=0.01, activity_limit=1.0)
TEXT = Recipe(
    units=8, sizes=(8, 6), embedding=6, tied=True, epochs=3, batch_size=10, window=25, readout="every",
    activity_target=0.01, activity_limit=1.0,
)  # fmt: skip
SILENT = LABELLED.but(activity_target=1.0, activity_floor=0.9)
DROPPED = TEXT.but(dropconnect=0.2, zoneout=0.1)


def sequences() -> Task:
    """Two classes of sequences of very different lengths; the last batch of an epoch has one sequence."""
    rng = np.random.default_rng(5)
    raw = [rng.normal(size=(rng.integers(2, 30), 3)).astype(np.float32) for _ in range(71)]
    parts = {"train": np.arange(31), "validation": np.arange(31, 51), "test": np.arange(51, 71)}
    return Task.from_raw("small", ("low", "high"), raw, np.arange(71) % 2, parts)


def gradients(team: Team, task, recipe: Recipe, steps: int) -> dict[str, torch.Tensor]:
    """The gradients of the first batches, without any update between them."""
    torch.manual_seed(0)
    network = build("egru", task.input_size, task.num_classes, recipe)
    objective = training.objective_of(task, recipe, 0, team)
    called = team.wrapped(network)
    found = {}
    batches = objective.epoch(np.random.default_rng(0))
    for number, batch in zip(range(steps), batches, strict=False):
        network.zero_grad()
        lift = 10.0 if recipe.activity_floor else 0.0
        loss = whole_loss(
            objective.step(called, batch), 10.0, recipe.activity_target, team,
            lift=lift, floor=recipe.activity_floor,
        )  # fmt: skip
        team.backward(loss)
        found |= {f"{number}/{n}": p.grad.clone() for n, p in network.named_parameters()}
        found[f"{number}/loss"] = team.total(loss.detach()) / team.size
    return found


def interrupted(team: Team, state: Path) -> dict[str, torch.Tensor]:
    """Weights of a text network with dropouts, trained straight and in two halves."""

    def stop(epoch):
        raise InterruptedError

    options = {"seed": 1, "team": team}
    straight = training.train(small_text("word", 4), DROPPED, **options)
    for epochs in range(2):
        try:
            # Every process reports here, so that all stop alike.
            training.train(small_text("word", 4), DROPPED, state=state, report=stop, **options)
        except InterruptedError:
            team.shared(epochs)
    halves = training.train(small_text("word", 4), DROPPED, state=state, **options)
    return {
        **{f"straight/{n}": v for n, v in straight.weights.items()},
        **{f"halves/{n}": v for n, v in halves.weights.items()},
    }


def main(directory: Path) -> None:
    torch.set_num_threads(1)
    team = team_of_this()
    made = {f"labelled/{k}": v for k, v in gradients(team, sequences(), LABELLED, 3).items()}
    made |= {f"silent/{k}": v for k, v in gradients(team, sequences(), SILENT, 3).items()}
    made |= {f"text/{k}": v for k, v in gradients(team, small_text("word", 4), TEXT, 3).items()}
    made |= {f"run/{k}": v for k, v in interrupted(team, directory / "state").items()}
    trained = training.train(sequences(), LABELLED, seed=0, team=team)
    made |= {f"trained/{k}": v for k, v in trained.weights.items()}
    made["own noise"] = torch.rand(4)
    save_file({k: v.clone().contiguous() for k, v in made.items()}, directory / f"{team.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
