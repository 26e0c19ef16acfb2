"""ImageNet-1k: the ILSVRC 2012 images in class folders, balanced or few-shot.

Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015
(arXiv:1409.0575). Training images in root/train/<wnid>/, the validation images, which the OOD
literature tests on, in root/val/<wnid>/. Classes are the sorted WordNet ids, as in torchvision;
the recipes of CLIP take the spoken names (`class_names: imagenet`). Nothing is downloaded.
"""

from dataclasses import dataclass
from functools import cache

from ltood.core.errors import DataError
from ltood.datasets._image_folders import (
    ImageFolderConfig,
    ImageFolderDataset,
    check_counts,
    class_folders,
)
from ltood.images.files import ImageFiles
from ltood.images.folders import folders_of
from ltood.runtime.workspace import locate

SOURCE = (
    "ILSVRC 2012 by Russakovsky et al., https://www.image-net.org; for non-commercial research "
    "and education, after registration"
)

NUM_CLASSES = 1000
#: Images of the published splits.
TRAIN, TEST = 1_281_167, 50_000


@dataclass(frozen=True)
class Config(ImageFolderConfig):
    """Settings of ImageNet, as `ImageFolderConfig` describes them."""

    root: str = "data/sets/imagenet"


class Dataset(ImageFolderDataset):
    """ImageNet with outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings; folders are listed when something is asked for."""
        self._root, self._on_error = locate(config.root), config.on_error
        listings = {
            "train": lambda: self._files("train", TRAIN),
            "test": lambda: self._files("val", TEST),
        }
        super().__init__(config, cache(self._class_names), listings)

    def _class_names(self) -> tuple[str, ...]:
        folder = self._root / "val"
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; put ImageNet's validation images there, one "
                "folder for each WordNet id (`ltood data info imagenet`)."
            )
        names = folders_of(folder)
        if len(names) != NUM_CLASSES:
            raise DataError(
                f"{folder} holds {len(names)} folders, but ImageNet has {NUM_CLASSES} classes; "
                "sort the images into one folder for each WordNet id."
            )
        return names

    def _files(self, folder: str, expected: int) -> ImageFiles:
        files, _ = class_folders(self._root / folder, self.class_names, self._on_error)
        check_counts(files, NUM_CLASSES, (expected,), str(self._root / folder))
        return files
