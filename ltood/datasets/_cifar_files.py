"""CIFAR-10 and CIFAR-100 in their binary version, which needs no unpickling.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the format
is described at https://www.cs.toronto.edu/~kriz/cifar.html. A record is one label byte
(CIFAR-10) or a coarse and a fine one (CIFAR-100), then 1,024 bytes of red, green and blue each,
row by row. NumPy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit

SIDE = 32
PIXEL_BYTES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class CifarFiles:
    """One of the two official archives, unpacked.

    Attributes:
        title: Name for messages, such as "CIFAR-10".
        setting: The setting that names the folder, such as "datasets.cifar10.root".
        address: Where the archive is offered.
        md5: MD5 of the archive, as its authors state it.
        train: Files of the training images, in order.
        test: File of the test images.
        rows_per_file: Images in each training file; the test file holds 10,000.
        label_bytes: Label bytes of a record; the last one is the class.
        num_classes: Number of classes C.
    """

    title: str
    setting: str
    address: str
    md5: str
    train: tuple[str, ...]
    test: str
    rows_per_file: int
    label_bytes: int
    num_classes: int

    def read(self, root: Path, split: str) -> ImageSplit:
        """All images of "train" or "test", [N, 32, 32, 3]; ids count them in official order.

        Raises:
            DataError: If a file is missing, has another size than the official one, or holds
                labels that the official one cannot hold.
        """
        files = self.train if split == "train" else (self.test,)
        rows = self._rows(split)
        records = [self._records(root / file, rows) for file in files]
        total = rows * len(files)
        images = np.empty((total, SIDE, SIDE, 3), dtype=np.uint8)
        for start, block in zip(range(0, total, rows), records, strict=True):
            planes = block[:, self.label_bytes :].reshape(rows, 3, SIDE, SIDE)
            images[start : start + rows] = planes.transpose(0, 2, 3, 1)
        labels = np.concatenate([block[:, self.label_bytes - 1] for block in records])
        self._check_labels(labels, root, files)
        return ImageSplit(images, labels.astype(np.int64), np.arange(total))

    def check_sizes(self, root: Path) -> None:
        """Look whether all files are there and as long as the official ones.

        Raises:
            DataError: If one is missing or has another size.
        """
        for file in (*self.train, self.test):
            self._records(root / file, self._rows("test" if file == self.test else "train"))

    def _rows(self, split: str) -> int:
        """Images in each file of a split."""
        return self.rows_per_file if split == "train" else 10_000

    def _records(self, path: Path, rows: int) -> NDArray[np.uint8]:
        """Map the records of one file, [rows, label_bytes + 3072]."""
        width = self.label_bytes + PIXEL_BYTES
        try:
            size = path.stat().st_size
            if size != rows * width:
                raise DataError(
                    f"{path} has {size} bytes, the official file has {rows * width}: it was "
                    f"changed or cut short. {self._remedy()}"
                )
            return np.memmap(path, dtype=np.uint8, mode="r", shape=(rows, width))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}. {self._remedy()}") from error

    def _check_labels(self, labels: NDArray[np.uint8], root: Path, files: Sequence[str]) -> None:
        """Refuse class counts other than the official, equal ones."""
        counts = np.bincount(labels, minlength=self.num_classes)
        expected = len(labels) // self.num_classes
        wrong = np.flatnonzero(counts != expected)
        if len(wrong):
            raise DataError(
                f"{root} has {counts[wrong[0]]} images of class {wrong[0]} in {', '.join(files)}; "
                f"the official files have {expected} of each of {self.num_classes} classes. "
                f"{self._remedy()}"
            )

    def _remedy(self) -> str:
        name = self.setting.split(".")[1]
        return (
            f"Run `ltood data download {name}`, or get the binary version of {self.title} from "
            f"{self.address} (MD5 {self.md5}), unpack it, and set {self.setting} to the folder."
        )


CIFAR10 = CifarFiles(
    title="CIFAR-10",
    setting="datasets.cifar10.root",
    address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    rows_per_file=10_000,
    label_bytes=1,
    num_classes=10,
)

CIFAR100 = CifarFiles(
    title="CIFAR-100",
    setting="datasets.cifar100.root",
    address="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train=("train.bin",),
    test="test.bin",
    rows_per_file=50_000,
    label_bytes=2,
    num_classes=100,
)
