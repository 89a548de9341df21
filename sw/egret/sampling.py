"""Real data for an accelerator: test sequences of a task, drawn at random, as a network image takes them.

Of a text they are passages, see :meth:`egret.tasks.Text.passages`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from egret.tasks import Sequences
    from egru.image import NetworkImage


def check_seed(seed: int) -> int:
    """Return a seed of a draw, of stalls or of a placement: all tools take 31 bits; EgretError for others."""
    if not 0 <= seed < 1 << 31:
        raise EgretError(f"seed must be in 0..{(1 << 31) - 1}, not {seed}")
    return seed


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
        tasks.is_text(task)  # raises for an unknown name
        path = networks.shipped(task)
    network = load_image(path)
    task = task or network.info.get("task")
    if not isinstance(task, str):
        raise EgretError(
            f"{path} names no task: give --task, one of {', '.join(tasks.NAMES + tasks.TEXT_NAMES)}"
        )
    tasks.is_text(task)
    return network, task


def test_part(network: NetworkImage, task: str) -> Sequences:
    """The test part of a task.

    Raises
    ------
    EgretError
        If the data do not suit the network.
    """
    from egret import tasks
    from egret.evaluation import check_data

    if tasks.is_text(task):
        text = tasks.load_text(task)
        check_data(network, text)
        return text.passages("test")
    data = tasks.load(task)
    check_data(network, data)
    return data.test


def draw(network: NetworkImage, task: str, samples: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw test sequences: integers in the network's input format (each T x I), and their labels.

    Raises
    ------
    EgretError
        If there are not so many, or they do not suit the network.
    """
    import numpy as np

    if samples < 1:
        raise EgretError(f"samples must be 1 or more, not {samples}")
    check_seed(seed)
    test = test_part(network, task)
    if samples > len(test):
        raise EgretError(f"samples must be at most {len(test)}, the test part of {task}, not {samples}")
    return quantised(network, test, np.random.default_rng(seed).permutation(len(test))[:samples])


def quantised(
    network: NetworkImage, part: Sequences, numbers: Iterable[int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences of a part of a task, integers in the network's input format (T x I), and their labels."""
    import numpy as np

    chosen = part.subset(np.fromiter(numbers, np.int64))
    return [network.input.format.quantise(x) for x in chosen.x], chosen.y


def numbered(network: NetworkImage, task: str, which: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The test sequences with the numbers ``which``, such as "7" or "7-9", as :func:`draw` returns them.

    Raises
    ------
    EgretError
        If ``which`` is no such text, or there are no such sequences.
    """
    test = test_part(network, task)
    parts = which.split("-")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise EgretError(f"sequences must be a number, or two with - between them, not {which!r}")
    first, last = int(parts[0]), int(parts[-1])
    if not first <= last < len(test):
        raise EgretError(
            f"sequences must be in 0..{len(test) - 1}, the test part of {task}, in order, not {which}"
        )
    return quantised(network, test, range(first, last + 1))
