"""Physiotherapy exercises: the pickled array, the windows and the people, on a small wheel in its format."""

import hashlib
import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from egret import tasks
from egret.tasks import gestures
from egru.errors import EgretError


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path))
    return tmp_path


def small_watch() -> dict:
    """Two recordings of each of three people, one of every part; 150, 299, 300 samples and so on."""
    rng = np.random.default_rng(4)
    lengths = (150, 299, 300, 375, 160, 310)
    return {
        "X": [rng.normal(size=(length, 6)) for length in lengths],
        "y": np.array([0, 6, 0, 6, 3, 2]),
        "subject": np.array([1, 1, 7, 7, 5, 5]),
        "side": np.array([0.0, 1, 0, 1, 0, 1]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"],
    }


def npy_of(content: object) -> bytes:
    out = io.BytesIO()
    np.save(out, content, allow_pickle=True)
    return out.getvalue()


def put(cache: Path, monkeypatch, npy: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as wheel:
        wheel.writestr(gestures.MEMBER, npy)
    (cache / gestures.ARCHIVE.filename).write_bytes(out.getvalue())
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    monkeypatch.setattr(gestures, "ARCHIVE", replace(gestures.ARCHIVE, sha256=digest))


def test_windows_overlap_by_half_stay_in_their_recording_and_go_by_person(cache, monkeypatch):
    watch = small_watch()
    put(cache, monkeypatch, npy_of(watch))
    task = tasks.load("gestures")
    assert (task.input_size, task.num_classes) == (6, 7)
    np.testing.assert_array_equal(task.train.y, [0, 6, 6])
    np.testing.assert_array_equal(task.test.y, [0, 0, 0, 6, 6, 6, 6])
    np.testing.assert_array_equal(task.validation.y, [3, 2, 2, 2])
    for part in (task.train, task.validation, task.test):
        assert set(part.lengths) == {150}
    third = watch["X"][3][225:375].astype(np.float32)
    np.testing.assert_array_equal(task.test.x[6], task.normalisation.apply(third))


def test_people_who_moved_in_time_belong_to_one_part():
    parts = {subject: gestures.part_of(subject) for subject in range(1, 11)}
    assert all(parts[a] == parts[b] for a, b in ((1, 2), (3, 4), (5, 6), (7, 10), (8, 9)))
    assert [list(parts.values()).count(name) for name in tasks.task.SPLITS] == [6, 2, 2]


def test_normalisation_comes_from_the_training_people_alone(cache, monkeypatch):
    found = []
    for spoil in (0.0, 9.0):
        watch = small_watch()
        for i in (2, 3, 4, 5):
            watch["X"][i] += spoil
        put(cache, monkeypatch, npy_of(watch))
        found.append(tasks.load("gestures").normalisation)
        monkeypatch.undo()
        monkeypatch.setenv("EGRET_CACHE", str(cache))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("X", None, "must be a dictionary of arrays X, y and subject"),
        ("y", np.zeros(5, int), "a label and a person per recording"),
        ("y", np.zeros(6), "a label and a person per recording"),
        ("subject", np.array(["a"] * 6), "a label and a person per recording"),
        ("X", [np.zeros((200, 5))] * 6, "must hold T x 6 numbers"),
        ("X", [np.zeros((200, 6), object)] * 6, "must hold T x 6 numbers"),
        ("subject", np.array([1] * 6), "the validation part is empty"),
        ("y", np.array([0, 7, 0, 6, 3, 2]), "labels of task gestures must lie in 0..6"),
    ],
)
def test_recordings_of_another_form_are_refused(cache, monkeypatch, key, value, message):
    put(cache, monkeypatch, npy_of({**small_watch(), key: value}))
    with pytest.raises(EgretError, match=message):
        tasks.load("gestures")


@pytest.mark.parametrize(
    "data", [b"", b"PK", npy_of(np.zeros(3)), npy_of([1, 2]), npy_of(small_watch())[:-9]]
)
def test_a_file_that_is_no_pickled_dictionary_is_refused(data):
    with pytest.raises(EgretError, match="watch_dataset"):
        gestures.read_recordings(data)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_names_anything_but_arrays_is_refused_and_nothing_of_it_runs(tmp_path):
    made = tmp_path / "made"
    data = npy_of({**small_watch(), "side": Hostile(made)})
    with pytest.raises(EgretError, match=r"refused the pickle .*: it names (posix|nt)\.mkdir"):
        gestures.read_recordings(data)
    assert not made.exists()
    pickle.loads(data[data.index(b"\n") + 1 :])  # which numpy's own reader would have done
    assert made.exists()
