"""ImageNet-LT: the long tail that the fixed lists of its authors cut from ImageNet.

Source: Liu, Miao, Zhan, Wang, Gong and Yu, "Large-Scale Long-Tailed Recognition in an Open
World", CVPR 2019 (arXiv:1904.05160): 115,846 training images, 5 to 1,280 of a class; 20,000 for
validation, which come from ImageNet's training folders; ImageNet's 50,000 validation images for
the test, as PASCL and this entry take them (PATT tests on the 20,000 instead, so its figures are
not comparable). Class numbers follow the sorted WordNet ids, not the counts.

The lists are the user's: one image per line, path from the root on and class number.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ltood.core.errors import DataError
from ltood.datasets._image_folders import ImageFolderConfig, ImageFolderDataset, check_classes
from ltood.images.files import ImageFiles
from ltood.images.lists import read_list
from ltood.images.sources import WatchedFiles
from ltood.runtime.workspace import locate

SOURCE = (
    "ImageNet (https://www.image-net.org, for non-commercial research and education) by the lists "
    "of https://liuziwei7.github.io/projects/LongTail.html"
)

NUM_CLASSES = 1000
#: Lines of the published lists.
LINES = {"train": 115_846, "val": 20_000, "test": 50_000}
_LARGEST, _SMALLEST = 1280, 5


@dataclass(frozen=True)
class Config(ImageFolderConfig):
    """Settings of ImageNet-LT, in addition to those of `ImageFolderConfig`.

    Attributes:
        train_list: List of the training images, relative to the root.
        val_list: List of the validation images; null leaves the split out.
        test_list: List of the test images.
        official_counts: Refuse lists of other lengths than the published ones.
    """

    root: str = "data/sets/imagenet"
    train_list: str = "ImageNet_LT_train.txt"
    val_list: str | None = "ImageNet_LT_val.txt"
    test_list: str = "ImageNet_LT_test.txt"
    official_counts: bool = True

    def check(self) -> None:
        """Refuse a second long tail."""
        super().check()
        if self.imbalance != "none":
            raise self.fault(
                "imbalance",
                f"is {self.imbalance!r}, but the lists are long-tailed already; set it to none, or "
                "take the dataset imagenet.",
            )


class Dataset(ImageFolderDataset):
    """ImageNet-LT with outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings; lists are read when a split is asked for."""
        self._root, self._lt_config = locate(config.root), config
        lists = {"train": config.train_list, "val": config.val_list, "test": config.test_list}
        self._lists = {name: self._root / path for name, path in lists.items() if path is not None}
        listings = {name: partial(self._files, name, path) for name, path in self._lists.items()}
        super().__init__(config, self._class_names, listings)

    def watched(self) -> dict[str, WatchedFiles]:
        """The lists, all images in them, and those of the outliers."""
        lists = {f"{name} list": WatchedFiles.of(path) for name, path in self._lists.items()}
        return {**lists, **super().watched()}

    def _class_names(self) -> tuple[str, ...]:
        """The classes by number: the lists know no names."""
        return tuple(f"{number:04d}" for number in range(NUM_CLASSES))

    def _files(self, name: str, path: Path) -> ImageFiles:
        where, config = str(path), self._lt_config
        files = read_list(path, self._root, on_error=config.on_error)
        check_classes(files, NUM_CLASSES, where)
        if config.official_counts and len(files) != LINES[name]:
            raise DataError(
                f"{where} lists {len(files):,} images, the published list has {LINES[name]:,}; use "
                "that, or set datasets.imagenet_lt.official_counts to false."
            )
        counts = np.bincount(files.labels, minlength=NUM_CLASSES)
        extremes = (int(counts.max()), int(counts.min()))
        if name == "train" and config.official_counts and extremes != (_LARGEST, _SMALLEST):
            raise DataError(
                f"{where} has {extremes[0]} images of its largest class and {extremes[1]} of its "
                f"smallest, the published list {_LARGEST} and {_SMALLEST}; use that, or set "
                "datasets.imagenet_lt.official_counts to false."
            )
        return files
