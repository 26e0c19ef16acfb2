"""Demo: real images that come with ltood, eight kinds of clothing against four OOD sets.

The long tail is cut from the balanced training images at prepare time. How the images were
chosen and their licences: data/demo/README.md; the script that made them: make_demo.py there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ltood.core.errors import DataError
from ltood.core.limits import Share
from ltood.core.settings import Settings
from ltood.images.arrays import ImageSplit
from ltood.images.longtail import cut_long_tail
from ltood.images.sources import WatchedFiles
from ltood.runtime.numpy_files import UNREADABLE
from ltood.runtime.shipped import shipped
from ltood.runtime.workspace import locate

SOURCE = (
    "Fashion-MNIST (MIT), MNIST digits, Noto emoji (Apache 2.0), and patches of images in "
    "scikit-image and scikit-learn (CC0, public domain, CC BY 2.0); see data/demo/README.md"
)

CLASS_NAMES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Sneaker",
    "Bag",
)
SPLITS = (
    "train",
    "val",
    "test",
    "aux",
    "ood_clothing",
    "ood_mnist",
    "ood_photographs",
    "ood_textures",
    "val_ood_pictures",
)
#: Training images of each class before the long tail is cut.
TRAIN_PER_CLASS = 1000

_RESTORE = "restore the folder from the repository or run its make_demo.py"


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the demo images.

    Attributes:
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        imbalance: Profile of the class counts; "none" keeps all 1,000 images of each class.
        root: Folder of the files, relative to where the command runs; null takes the copy that
            comes with ltood.
    """

    imbalance_ratio: Share = 0.05
    imbalance: Literal["exponential", "step", "none"] = "exponential"
    root: str | None = "data/demo"

    def check(self) -> None:
        """Check the root."""
        if self.root == "":
            raise self.fault("root", "is empty; name the folder, such as data/demo, or null.")


class Dataset:
    """The demo images; an `ImageDataset`. Files are read when a split is asked for."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        self._config = config
        root = config.root
        self._root = shipped("data/demo") if root is None else locate(root)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the eight kinds of clothing, in label order."""
        return CLASS_NAMES

    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        return SPLITS

    def split(self, name: str) -> ImageSplit:
        """Images of one split, [N, 32, 32, 1]; the training split is long-tailed.

        Raises:
            DataError: If there is no such split, or its file is missing or was changed.
            ConfigError: If the imbalance ratio leaves a class without images.
        """
        if name not in SPLITS:
            raise DataError(f"demo has no split {name!r}; it has {', '.join(SPLITS)}.")
        images = _read(_checked(self._root, f"{name}.npz"))
        if name != "train":
            return images
        return cut_long_tail(
            images,
            len(CLASS_NAMES),
            ratio=self._config.imbalance_ratio,
            profile=self._config.imbalance,
            num_max=TRAIN_PER_CLASS,
            class_names=CLASS_NAMES,
        )

    def watched(self) -> dict[str, WatchedFiles]:
        """The archives of all splits and their recorded checksums."""
        _check_folder(self._root)
        archives = {name: WatchedFiles(self._root, (f"{name}.npz",)) for name in SPLITS}
        return {**archives, "checksums": WatchedFiles(self._root, ("checksums.json",))}


def _checked(root: Path, file: str) -> Path:
    """Path of a file whose SHA-256 is the recorded one."""
    _check_folder(root)
    try:
        recorded = json.loads((root / "checksums.json").read_text(encoding="utf-8"))[file]
        found = hashlib.sha256((root / file).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}; {_RESTORE}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root / 'checksums.json'} holds no checksum of {file}; {_RESTORE}."
        ) from error
    if found != recorded:
        raise DataError(
            f"{root / file} has SHA-256 {found[:12]}… but {str(recorded)[:12]}… is recorded: the "
            f"file was changed or cut short; {_RESTORE}."
        )
    return root / file


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(
            f"the demo images are not at {root}; run from the repository root, or set "
            "datasets.demo.root to their folder, or to null for the copy that comes with ltood."
        )


def _read(path: Path) -> ImageSplit:
    """Read the arrays of a split."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels, ids = archive["images"], archive["labels"], archive["ids"]
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} is not an archive of images, labels and ids ({reason}); {_RESTORE}."
        ) from error
    return ImageSplit(images, labels, ids)
