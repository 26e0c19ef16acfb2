"""ID classes by lists of image files, as OpenOOD publishes its benchmarks.

Source: Zhang, Yang, Wang et al., "OpenOOD v1.5: Enhanced Benchmark for Out-of-Distribution
Detection", 2023 (arXiv:2306.09301): one list for each split, on each line the path of an image and
its class. The lists are read as they are, in their order.

Classes without names in the settings are called after the folders of their training images, and
by number where a class has several folders or shares one.

OpenOOD cuts the validation images of its CIFAR benchmarks from the official test set: 1,000 of
the 10,000, which the test of 9,000 does not hold.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import PurePosixPath

import numpy as np

from ltood.core.errors import DataError
from ltood.datasets._image_folders import ImageFolderConfig, ImageFolderDataset, check_classes
from ltood.images.files import ImageFiles
from ltood.images.lists import read_list
from ltood.images.sources import WatchedFiles
from ltood.runtime.workspace import locate

SOURCE = (
    "images of the user by lists in the form of https://github.com/Jingkang50/OpenOOD; each image "
    "set has a licence of its own"
)


@dataclass(frozen=True)
class Config(ImageFolderConfig):
    """Settings of lists, in addition to those of `ImageFolderConfig`.

    Attributes:
        images: Folder that the paths of the lists start from, below the root.
        train_list: List of the training images, relative to the root.
        val_list: List of the validation images; null leaves the split out.
        test_list: List of the test images.
        class_names: Names of the classes by number; none takes those of the folders.
    """

    root: str = "data/sets/openood"
    images: str = "images_classic"
    train_list: str = "benchmark_imglist/cifar10/train_cifar10.txt"
    val_list: str | None = "benchmark_imglist/cifar10/val_cifar10.txt"
    test_list: str = "benchmark_imglist/cifar10/test_cifar10.txt"
    class_names: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse names that come twice."""
        super().check()
        if len(set(self.class_names)) < len(self.class_names) or len(self.class_names) == 1:
            raise self.fault(
                "class_names",
                f"is {list(self.class_names)[:5]}; give at least two names, each once, or none.",
            )


class Dataset(ImageFolderDataset):
    """Lists with outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings; lists are read when something is asked for."""
        self._root, self._list_config = locate(config.root), config
        lists = {"train": config.train_list, "val": config.val_list, "test": config.test_list}
        self._lists = {name: self._root / path for name, path in lists.items() if path is not None}
        # The classes are those of the training list, so it is read once for both.
        self._read = cache(self._read_list)
        listings = {name: partial(self._files, name) for name in self._lists}
        super().__init__(config, cache(self._class_names), listings)

    def watched(self) -> dict[str, WatchedFiles]:
        """The lists, all images in them, and those of the outliers."""
        lists = {f"{name} list": WatchedFiles.of(path) for name, path in self._lists.items()}
        return {**lists, **super().watched()}

    def _class_names(self) -> tuple[str, ...]:
        if self._list_config.class_names:
            return self._list_config.class_names
        train = self._read("train")
        folders: dict[int, set[str]] = {}
        for path, label in zip(train.paths, train.labels.tolist(), strict=True):
            folders.setdefault(label, set()).add(PurePosixPath(path).parent.name)
        num = max(folders) + 1
        names = ["/".join(sorted(folders.get(label, ()))) for label in range(num)]
        is_plain = len(set(names)) == num and all(len(found) == 1 for found in folders.values())
        if len(folders) < num or not is_plain or not all(names):
            return tuple(f"{label:0{len(str(num - 1))}d}" for label in range(num))
        return tuple(names)

    def _files(self, name: str) -> ImageFiles:
        num = len(self.class_names)
        if num < 2:
            raise DataError(
                f"{self._lists['train']} has one class; a list of ID images has at least two."
            )
        files = check_classes(self._read(name), num, str(self._lists[name]))
        missing = num - len(np.unique(files.labels))
        if name == "train" and missing:
            raise DataError(
                f"{self._lists[name]} has no images of {missing} of the {num} classes; complete "
                "it, or correct datasets.image_lists.class_names."
            )
        return files

    def _read_list(self, name: str) -> ImageFiles:
        images = self._root / self._list_config.images
        return read_list(self._lists[name], images, on_error=self._list_config.on_error)
