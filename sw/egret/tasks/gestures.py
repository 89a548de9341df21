"""Physiotherapy exercises of the shoulder: a watch on the wrist, six channels at 50 Hz.

Three axes of acceleration (g) and three of angular velocity (rad/s), 10 people, 7 exercises, each with both
arms: 140 recordings, from the data file of the package ``seglearn``. Windows of 150 samples (3 s; one
repetition takes about 1.7 s) with half overlap, cut inside a recording.

Test and validation people are never seen in training. The recordings of some people are as long as those of
one other, exercise by exercise (correlation 0.98 to 0.99), as if the two had moved in time; such pairs stay
in one part.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from egru.errors import EgretError

from .archive import Archive, read_member
from .pickles import FAULTS, unpickle
from .task import Task

ARCHIVE = Archive(
    package="seglearn",
    version="1.2.5",
    filename="seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
)
MEMBER = "seglearn/data/watch_dataset.npy"
LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "row",
)
CHANNELS = 6
WINDOW = 150  #: samples
HOP = 75  #: samples between the starts of two windows
TEST_SUBJECTS = (7, 10)
VALIDATION_SUBJECTS = (5, 6)


def part_of(subject: int) -> str:
    """Return the part that a person belongs to."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "validation" if subject in VALIDATION_SUBJECTS else "train"


def windows(recording: np.ndarray) -> list[np.ndarray]:
    """Cut one recording T x 6 into windows WINDOW x 6 (float32); what is left at the end is dropped."""
    x = recording.astype(np.float32)
    return [x[first : first + WINDOW] for first in range(0, len(x) - WINDOW + 1, HOP)]


def read_recordings(data: bytes) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return recordings, labels and people of a ``.npy`` file that holds one pickled dictionary.

    Raises EgretError for a pickle that names anything but numpy's arrays, and for other contents.
    """
    try:
        content = _dictionary(data)
        recordings = list(content["X"])
        y, people = np.asarray(content["y"]), np.asarray(content["subject"])
        good = len(recordings) == len(y) == len(people) and y.dtype.kind == people.dtype.kind == "i"
        shaped = (x.ndim == 2 and x.shape[1] == CHANNELS and x.dtype.kind == "f" for x in recordings)
        good = good and all(shaped)
    except pickle.UnpicklingError as error:
        raise EgretError(f"refused the pickle {MEMBER}: {error}; only plain arrays are read") from error
    except FAULTS as error:
        raise EgretError(f"{MEMBER} must be a dictionary of arrays X, y and subject: {error}") from error
    if not good:
        raise EgretError(f"{MEMBER} must hold T x {CHANNELS} numbers, a label and a person per recording")
    return recordings, y, people


def _dictionary(data: bytes) -> dict[str, Any]:
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is not of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"it is an array {shape} of {dtype}")
    return unpickle(data[file.tell() :]).item()


def load() -> Task:
    """Load the task."""
    recordings, labels, people = read_recordings(read_member(ARCHIVE, MEMBER))
    raw: list[np.ndarray] = []
    y: list[int] = []
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for recording, label, subject in zip(recordings, labels, people, strict=True):
        found = windows(recording)
        parts[part_of(int(subject))].extend(range(len(raw), len(raw) + len(found)))
        raw.extend(found)
        y.extend([int(label)] * len(found))
    for name, indices in parts.items():
        if not indices:
            raise EgretError(f"the recordings must hold people of every part, but the {name} part is empty")
    cut = {name: np.array(indices, dtype=np.int64) for name, indices in parts.items()}
    return Task.from_raw("gestures", LABELS, raw, np.array(y), cut, ((0, 1, 2), (3, 4, 5)))
