"""DVS128 Gesture: an event camera that watches 29 people make 11 gestures.

The package ``tonic`` fetches and reads the recordings, of about 6 s each (the optional extra ``dvs``; the
download, from figshare, needs the open internet). Events are counted in frames of 25 ms, in squares of 4 x 4
pixels: a recording of 6 s becomes 240 steps of 32 x 32 x 2 channels, 2 MB. Where nothing moves the input is
exactly 0, so that silence is no event.

The test people are the data set's own, 24 to 29; validation people are cut from the training people.
"""

from __future__ import annotations

import contextlib
import sys
import tarfile
from typing import Any

import numpy as np
from rich.progress import track

from egret.console import Console
from egru.errors import EgretError

from .archive import cache_directory
from .task import Normalisation, Sequences, Task

LABELS = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counterclockwise",
    "left arm clockwise",
    "left arm counterclockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
SENSOR = 128  #: pixels along a side
POOL = 4  #: pixels along the side of the square that makes one channel
SIDE = SENSOR // POOL
CHANNELS = 2 * SIDE * SIDE  #: polarity, then row, then column
FRAME_US = 25_000  #: microseconds of one step
COUNT_SCALE = 1 / 8  #: one event is 4 of the input word's 127; 32 events and more fill it
TEST_SUBJECTS = tuple(range(24, 30))  #: the data set's own division
VALIDATION_SUBJECTS = tuple(range(19, 24))  #: cut from the training people
ARCHIVES = ("ibmGestureTrain.tar.gz", "ibmGestureTest.tar.gz")  #: what tonic fetches


def part_of(subject: int) -> str:
    """Return the part that a person belongs to."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "validation" if subject in VALIDATION_SUBJECTS else "train"


def frames(events: np.ndarray) -> np.ndarray:
    """Count the events of one recording; the result is T x CHANNELS, int64.

    ``events`` has the fields ``x``, ``y`` (pixels), ``p`` (polarity) and ``t`` (microseconds), in any
    order of time. The first frame begins with the first event, and the last holds the last.
    """
    if not len(events):
        raise EgretError("a recording must hold at least one event")
    x, y, p, t = (events[name].astype(np.int64) for name in ("x", "y", "p", "t"))
    for name, value, most in (("x", x, SENSOR - 1), ("y", y, SENSOR - 1), ("p", p, 1)):
        if value.min() < 0 or value.max() > most:
            raise EgretError(f"events must have {name} in 0..{most}, not {value.min()}..{value.max()}")
    step = (t - t.min()) // FRAME_US
    channel = (p * SIDE + y // POOL) * SIDE + x // POOL
    size = (int(step.max()) + 1) * CHANNELS
    return np.bincount(step * CHANNELS + channel, minlength=size).reshape(-1, CHANNELS)


def _data_sets() -> list[Any]:
    """Return tonic's training and test set, which it fetches if need be."""
    try:
        from tonic.datasets import DVSGesture
    except ModuleNotFoundError as error:
        raise EgretError(
            f"task dvs-gesture needs the package {error.name}: pip install 'egret-hdl[dvs]'"
        ) from None
    folder = cache_directory()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where it tells how the download goes
            return [DVSGesture(save_to=str(folder), train=train) for train in (True, False)]
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        raise EgretError(
            f"tonic cannot fetch DVS128 Gesture: {error}. Connect to the internet and run again, "
            f"or put {' and '.join(ARCHIVES)} into {folder / DVSGesture.__name__}"
        ) from error


def load() -> Task:
    """Load the task."""
    # Files come in the order of the file system: put them into one of our own.
    recordings = sorted(
        (
            (data.users[i], data.lighting[i], int(data.targets[i]), i, data)
            for data in _data_sets()
            for i in range(len(data))
        ),
        key=lambda recording: recording[:3],
    )
    normalisation = Normalisation.scaled(CHANNELS, COUNT_SCALE)
    x: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    y: dict[str, list[int]] = {part: [] for part in x}
    console = Console(stderr=True)
    for subject, lighting, label, i, data in track(
        recordings, "counting events", console=console, transient=True, disable=not console.is_terminal
    ):
        if not 0 <= label < len(LABELS):
            raise EgretError(f"labels of task dvs-gesture must lie in 0..{len(LABELS) - 1}, not {label}")
        try:
            counted = frames(data[i][0])
        except (EgretError, OSError, ValueError) as error:
            raise EgretError(f"recording {label} of person {subject}, {lighting}: {error}") from error
        x[part_of(subject)].append(normalisation.apply(counted))
        y[part_of(subject)].append(label)
    for part, found in x.items():
        if not found:
            raise EgretError(f"the recordings must hold people of every part, but the {part} part is empty")
    train, validation, test = (Sequences(tuple(x[part]), np.array(y[part], dtype=np.int64)) for part in x)
    return Task("dvs-gesture", CHANNELS, LABELS, normalisation, train, validation, test)
