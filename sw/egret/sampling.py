"""Real data for an accelerator: test sequences of a task, drawn at random, as a network image takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    import numpy as np

    from egru.image import NetworkImage


def network_and_task(path: Path | None, task: str | None) -> tuple[NetworkImage, str]:
    """Load an image and name the task whose data it takes.

    Without ``path`` it is the shipped network of ``task``; without ``task`` the task that the image names.

    Raises
    ------
    EgretError
        If neither is given, or the image names no task, or there is no such task.
    """
    from egret import networks, tasks
    from egru.image import load_image

    if path is None:
        if task is None:
            raise EgretError("an image or --task must be given")
        path = networks.shipped(tasks.check_name(task))
    network = load_image(path)
    task = task or network.info.get("task")
    if not isinstance(task, str):
        raise EgretError(f"{path} names no task: give --task, one of {', '.join(tasks.NAMES)}")
    return network, tasks.check_name(task)


def draw(network: NetworkImage, task: str, samples: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw test sequences: integers in the network's input format (each T x I), and their labels.

    Raises
    ------
    EgretError
        If there are not so many, or they do not suit the network.
    """
    import numpy as np

    from egret import tasks
    from egret.evaluation import check_normalisation

    if samples < 1:
        raise EgretError(f"samples must be 1 or more, not {samples}")
    if not 0 <= seed < 1 << 31:
        raise EgretError(f"seed must be in 0..{(1 << 31) - 1}, not {seed}")
    data = tasks.load(task)
    check_normalisation(network, data)
    inputs = data.test.x[0].shape[1]
    if inputs != network.input.size:
        raise EgretError(
            f"task {task} has {inputs} inputs, but network {network.name} has {network.input.size}"
        )
    if samples > len(data.test):
        raise EgretError(f"samples must be at most {len(data.test)}, the test part of {task}, not {samples}")
    chosen = data.test.subset(np.random.default_rng(seed).permutation(len(data.test))[:samples])
    return [network.input.format.quantise(x) for x in chosen.x], chosen.y
