"""DVS128 Gesture: frames of events, and the loader on generated files of the form that tonic reads.

The loader is tested with a stand-in for tonic that reads the same files, and with tonic itself where it is
installed.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from egret import tasks
from egret.tasks import dvs
from egru.errors import EgretError

FIELDS = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])
READERS = ["stand-in"] + (["tonic"] if importlib.util.find_spec("tonic") else [])
FOLDERS = {"ibmGestureTrain": range(14, 24), "ibmGestureTest": range(24, 30)}
LIGHTS = {"ibmGestureTrain": ["led"], "ibmGestureTest": ["led", "lab"]}


def events(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(rows), dtype=FIELDS)


class StandIn:
    """What the loader uses of tonic's DVSGesture: ``N.npy``, columns x, y, p, t in ms."""

    def __init__(self, save_to: str, train: bool) -> None:
        folder = Path(save_to) / "DVSGesture" / ("ibmGestureTrain" if train else "ibmGestureTest")
        if not folder.is_dir():
            raise OSError("no network")
        print("a word on standard output")
        self.files = list(folder.glob("*/*.npy"))
        self.targets = [int(path.stem) for path in self.files]
        self.users = [int(path.parent.name[4:6]) for path in self.files]
        self.lighting = [path.parent.name[7:] for path in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        rows = np.load(self.files[index])
        structured = np.zeros(len(rows), FIELDS)
        for name, column in zip("xypt", rows.T, strict=True):
            structured[name] = column * (1000 if name == "t" else 1)
        return structured, self.targets[index]


StandIn.__name__ = "DVSGesture"


@pytest.fixture(params=READERS)
def folder(request, tmp_path, monkeypatch) -> Path:
    """The folder of tonic's files in an empty cache, and a reader of them."""
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path))
    if request.param == "stand-in":
        module = types.ModuleType("tonic.datasets")
        module.DVSGesture = StandIn
        monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
        monkeypatch.setitem(sys.modules, "tonic.datasets", module)
    return tmp_path / "DVSGesture"


def rows_of(user: int, light: str, label: int) -> np.ndarray:
    """A few events, x y p t in ms, of one recording; every recording has others."""
    rng = np.random.default_rng([user, len(light) * ord(light[1]), label])
    rows = np.stack([rng.integers(0, m, 12) for m in (128, 128, 2, 120)], axis=1)
    return rows[np.argsort(rows[:, 3])]


def generate(folder: Path) -> None:
    """Write both archives' folders; tonic wants 100 files in each, and to see the archives."""
    for name, users in FOLDERS.items():
        for user in users:
            for light in LIGHTS[name]:
                place = folder / name / f"user{user:02d}_{light}"
                place.mkdir(parents=True)
                for label in range(11):
                    np.save(place / f"{label}.npy", rows_of(user, light, label))
        (folder / f"{name}.tar.gz").touch()


def test_recordings_are_read_counted_and_divided_by_person(folder, capsys):
    generate(folder)
    task = tasks.load("dvs-gesture")
    assert (task.input_size, task.num_classes) == (2048, 11)
    assert [len(task.part(part)) for part in tasks.task.SPLITS] == [5 * 11, 5 * 11, 6 * 2 * 11]
    np.testing.assert_array_equal(task.validation.y, list(range(11)) * 5)
    # The recordings go by person, light and label, in every file system.
    for i, (user, light) in ((0, (24, "lab")), (11, (24, "led")), (22, (25, "lab"))):
        rows = rows_of(user, light, 0)
        wanted = np.zeros((len(task.test.x[i]), 2, 32, 32), np.float32)
        for x, y, p, t in rows:
            wanted[(t - rows[0, 3]) // 25, p, y // 4, x // 4] += 1 / 8
        np.testing.assert_array_equal(task.test.x[i], wanted.reshape(-1, 2048))
    assert capsys.readouterr().out == ""


def test_a_recording_that_makes_no_sense_is_named(folder):
    generate(folder)
    np.save(folder / "ibmGestureTest" / "user25_led" / "4.npy", np.array([[128, 0, 1, 0]]))
    with pytest.raises(
        EgretError, match=r"recording 4 of person 25, led: events must have x in 0\.\.127, not 128"
    ):
        tasks.load("dvs-gesture")


def test_an_unknown_gesture_and_a_missing_part_are_refused(folder):
    generate(folder)
    other = folder / "ibmGestureTest" / "user25_led" / "11.npy"
    np.save(other, np.array([[0, 0, 1, 0]]))
    with pytest.raises(EgretError, match=r"labels of task dvs-gesture must lie in 0\.\.10, not 11"):
        tasks.load("dvs-gesture")
    other.unlink()
    for user in dvs.VALIDATION_SUBJECTS:
        place = folder / "ibmGestureTrain" / f"user{user:02d}_led"
        place.rename(place.with_name(f"user{user - 18:02d}_led"))
    with pytest.raises(EgretError, match="the validation part is empty"):
        tasks.load("dvs-gesture")


def test_without_tonic_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    with pytest.raises(EgretError, match=r"needs the package tonic.*: pip install 'egret-hdl\[dvs\]'"):
        tasks.load("dvs-gesture")


def test_without_a_network_the_message_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path))
    module = types.ModuleType("tonic.datasets")
    module.DVSGesture = StandIn
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", module)
    with pytest.raises(EgretError) as caught:
        tasks.load("dvs-gesture")
    assert "tonic cannot fetch DVS128 Gesture: no network" in str(caught.value)
    put = f"put ibmGestureTrain.tar.gz and ibmGestureTest.tar.gz into {tmp_path / 'DVSGesture'}"
    assert put in str(caught.value)


def test_people_belong_to_one_part_each():
    parts = [dvs.part_of(subject) for subject in range(1, 30)]
    assert parts == ["train"] * 18 + ["validation"] * 5 + ["test"] * 6


# Frames


def test_an_event_goes_into_the_channel_of_its_square_and_polarity():
    counted = dvs.frames(events((0, 0, 0, 7), (3, 3, 0, 8), (4, 0, 0, 9), (127, 127, 1, 9)))
    assert counted.shape == (1, 2048)
    assert {int(c): int(counted[0, c]) for c in np.flatnonzero(counted)} == {0: 2, 1: 1, 2047: 1}


def test_frames_begin_with_the_first_event_and_last_25_ms():
    counted = dvs.frames(events((0, 0, 0, 60_007), (0, 0, 0, 10_007), (0, 0, 0, 35_006), (0, 0, 0, 35_007)))
    np.testing.assert_array_equal(counted[:, 0], [2, 1, 1])


def test_silent_channels_stay_0_and_busy_ones_fill_the_input_word():
    assert dvs.Normalisation.scaled(1, dvs.COUNT_SCALE).apply(np.array([[0], [1], [32], [900]])).tolist() == [
        [0],
        [0.125],
        [4],
        [4],
    ]


def test_a_recording_without_events_is_refused():
    with pytest.raises(EgretError, match="at least one event"):
        dvs.frames(events())
