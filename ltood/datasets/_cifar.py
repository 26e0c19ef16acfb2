"""CIFAR-10 and CIFAR-100 in their binary version, which needs no unpickling.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; the format
is described at https://www.cs.toronto.edu/~kriz/cifar.html. A record is one label byte
(CIFAR-10) or a coarse and a fine one (CIFAR-100), then 1,024 bytes of red, green and blue each,
row by row. NumPy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.datasets._outliers import open_outliers, outlier_sources
from ltood.images.arrays import ImageSplit
from ltood.images.files import OnError
from ltood.images.longtail import check_long_tail, cut_long_tail

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
        if split == "train":
            files, rows = self.train, self.rows_per_file
        else:
            files, rows = (self.test,), 10_000
        records = [self._records(root / file, rows) for file in files]
        total = rows * len(files)
        images = np.empty((total, SIDE, SIDE, 3), dtype=np.uint8)
        for start, block in zip(range(0, total, rows), records, strict=True):
            planes = block[:, self.label_bytes :].reshape(rows, 3, SIDE, SIDE)
            images[start : start + rows] = planes.transpose(0, 2, 3, 1)
        labels = np.concatenate([block[:, self.label_bytes - 1] for block in records])
        self._check_labels(labels, root, files)
        return ImageSplit(images, labels.astype(np.int64), np.arange(total))

    def _records(self, path: Path, rows: int) -> NDArray[np.uint8]:
        """Map the records of one file, [rows, label_bytes + 3072]."""
        width = self.label_bytes + PIXEL_BYTES
        try:
            size = path.stat().st_size
            if size != rows * width:
                raise DataError(
                    f"{path} has {size} bytes, the official file {rows * width}: it was changed "
                    f"or cut short. {self._remedy()}"
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


@dataclass(frozen=True)
class CifarConfig:
    """Settings that both CIFAR sets have.

    Attributes:
        root: Folder of the unpacked archive, relative to where the command runs.
        imbalance: Profile of the training class counts; "none" keeps all 50,000 images.
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        ood: OOD test sets, each a name and where its images are, such as svhn=data/svhn.npz, or
            the bare name of a known set (`ltood data list`).
        aux: Where auxiliary outliers are, likewise; null for none.
        on_error: What is done about pictures of theirs that cannot be decoded: "raise" or "skip".
    """

    section: ClassVar[str]

    root: str
    imbalance: Literal["exponential", "step", "none"] = "exponential"
    imbalance_ratio: float = 0.01
    ood: tuple[str, ...] = ()
    aux: str | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_long_tail(self.section, self.imbalance_ratio, self.imbalance)
        outlier_sources(self.ood, self.aux, self.section)
        if not self.root:
            raise ConfigError(
                f"{self.section}.root is empty; name the folder of the unpacked archive."
            )


class CifarImages:
    """Official images, the training split long-tailed, beside outliers from elsewhere.

    Files are read when a split is asked for.
    """

    def __init__(
        self, files: CifarFiles, class_names: tuple[str, ...], config: CifarConfig
    ) -> None:
        """Take what to read.

        Args:
            files: The official files.
            class_names: Names of the classes, [C].
            config: Settings.
        """
        self._files = files
        self._class_names = class_names
        self._root = Path(config.root)
        self._ratio, self._profile = config.imbalance_ratio, config.imbalance
        self._outliers = outlier_sources(config.ood, config.aux, config.section)
        self._on_error: OnError = config.on_error

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self._class_names

    def splits(self) -> tuple[str, ...]:
        """Names of all splits: train, test and the outliers that the settings name."""
        return ("train", "test", *self._outliers)

    def split(self, name: str) -> ImageSplit:
        """Images of one split, [N, 32, 32, 3]; the training split is long-tailed.

        Raises:
            DataError: If there is no such split or its file is unusable.
            ConfigError: If the imbalance ratio leaves a class without images.
        """
        if name not in self.splits():
            known = ", ".join(self.splits())
            raise DataError(f"{self._files.title} has no split {name!r}; it has {known}.")
        if name in self._outliers:
            found = open_outliers(self._outliers, name, (SIDE, SIDE, 3), on_error=self._on_error)
            assert isinstance(found, ImageSplit)  # a shape was asked for
            return found
        images = self._files.read(self._root, name)
        if name == "test":
            return images
        num_classes = len(self._class_names)
        return cut_long_tail(images, num_classes, ratio=self._ratio, profile=self._profile)
