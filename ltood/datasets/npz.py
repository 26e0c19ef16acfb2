"""Folder of .npz archives: your own images, one archive for each split.

Files: train.npz and test.npz, where wanted val.npz, aux.npz (auxiliary outliers) and
ood_<name>.npz (OOD test sets); `ltood/images/archives.py` says what an archive holds. Outliers
from elsewhere are named in the settings and brought to the size of the training images.
The folder may hold class names, one a line, in label order; without them classes are called
0, 1, and so on, up to the largest training label. The default folder is the demo's, which has
this form.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ltood.core.errors import ConfigError, DataError
from ltood.core.limits import Count, Share
from ltood.core.settings import Settings
from ltood.datasets._outliers import open_outliers, outlier_sources, watched_outliers
from ltood.images.archives import read_archive
from ltood.images.arrays import ImageSplit
from ltood.images.files import OnError
from ltood.images.lists import read_text
from ltood.images.longtail import cut_long_tail
from ltood.images.sources import WatchedFiles
from ltood.runtime.workspace import locate
from ltood.store.layout import is_id_split

SOURCE = "Images that the user saved as .npz archives; their origin and licence are the user's"

_FIRST = ("train", "val", "test", "aux")


@dataclass(frozen=True)
class Config(Settings):
    """Settings of a folder of archives.

    Attributes:
        root: The folder, relative to where the command runs.
        class_names: File of class names in that folder, UTF-8, one name per line; null numbers
            the classes.
        imbalance: Profile of the training class counts; "none" keeps every image, for data
            that are long-tailed already.
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        num_max: Training images of class 0 after the cut, at least 1; null takes as many as the
            largest class has.
        ood: Further OOD test sets, each a name and where its images are, such
            as dtd=data/dtd/images, or the bare name of a known set (`ltood data list`).
        csid: Sets of ID classes under covariate shift, such as corrupted or redrawn images, in
            the same forms; every image has a class. They count as ID where the full spectrum
            is evaluated.
        val_ood: Outliers to tune on, in the same forms; no test figure touches them.
        aux: Where auxiliary outliers are, in the same forms; null takes the folder's
            if there are some.
        on_error: What to do about their files that cannot be decoded: "raise" or "skip".
    """

    root: str = "data/demo"
    class_names: str | None = None
    imbalance: Literal["exponential", "step", "none"] = "none"
    imbalance_ratio: Share = 0.01
    num_max: Count | None = None
    ood: tuple[str, ...] = ()
    csid: tuple[str, ...] = ()
    val_ood: tuple[str, ...] = ()
    aux: str | None = None
    on_error: OnError = "raise"

    def check(self) -> None:
        """Check the OOD sets and the names of files."""
        outlier_sources(self)
        if not self.root:
            raise self.fault("root", "is empty; name the folder of the archives.")
        if self.class_names == "":
            raise self.fault(
                "class_names", "is empty; name a file in the folder, or set it to null."
            )


class Dataset:
    """A folder of archives; an `ImageDataset`. Archives are read when a split is asked for."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        self._config = config
        self._root = locate(config.root)
        self._class_names: tuple[str, ...] | None = None
        self._outliers = outlier_sources(config)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, in label order.

        Raises:
            DataError: If the file of names, or without one the training split, is unusable.
        """
        if self._class_names is None:
            if self._config.class_names is not None:
                self._class_names = _read_names(self._root / self._config.class_names)
            else:
                _, num_classes = self._training
                self._class_names = tuple(str(label) for label in range(num_classes))
        return self._class_names

    def splits(self) -> tuple[str, ...]:
        """Names of all splits: those of the folder's archives, then those of the settings.

        Train, val, test and aux come first, then the OOD sets by name.

        Raises:
            DataError: If there is no such folder.
            ConfigError: If a setting names a split that has an archive too.
        """
        if not self._root.is_dir():
            raise DataError(
                f"there is no folder {self._root}; set datasets.npz.root to the folder that holds "
                "train.npz and test.npz."
            )
        found = sorted(path.stem for path in self._root.glob("*.npz"))
        first = tuple(name for name in _FIRST if name in found)
        for name in self._outliers:
            if name in found:
                raise ConfigError(
                    f"datasets.npz names {name} at {self._outliers[name]!r}, but {self._root} "
                    f"holds {name}.npz too; rename one of them."
                )
        return (*first, *(name for name in found if name not in _FIRST), *self._outliers)

    def split(self, name: str) -> ImageSplit:
        """Images of one split; the training split is cut where `imbalance` says so.

        Raises:
            DataError: If there is no such split, its archive is unusable, or a class has fewer
                images than the profile asks for.
            ConfigError: If the imbalance ratio leaves a class without images.
        """
        names = self.splits()
        if name not in names:
            known = ", ".join(names) or "no archive"
            raise DataError(f"{self._root} has no split {name!r}; it has {known}.")
        if name in self._outliers:
            return self._from_elsewhere(name)
        images = read_archive(self._root / f"{name}.npz", outliers=not is_id_split(name))
        if name != "train":
            return images
        return cut_long_tail(
            images,
            len(self.class_names),
            ratio=self._config.imbalance_ratio,
            profile=self._config.imbalance,
            num_max=self._config.num_max,
            class_names=self.class_names,
        )

    def watched(self) -> dict[str, WatchedFiles]:
        """The archives, the file of class names, and what the outliers of the settings are."""
        own = [name for name in self.splits() if name not in self._outliers]
        found = {name: WatchedFiles(self._root, (f"{name}.npz",)) for name in own}
        if self._config.class_names is not None:
            found["class_names"] = WatchedFiles.of(self._root / self._config.class_names)
        return {**found, **watched_outliers(self._outliers, stay=False)}

    @cached_property
    def _training(self) -> tuple[tuple[int, int, int], int]:
        """Shape of the training images and number of their classes, for which they are read once.

        The images are not kept.
        """
        train = read_archive(self._root / "train.npz", outliers=False)
        return train.shape, int(train.labels.max()) + 1

    def _from_elsewhere(self, name: str) -> ImageSplit:
        """Outliers of the settings, at the size of the training images."""
        shape, _ = self._training
        found = open_outliers(
            self._outliers,
            name,
            shape,
            on_error=self._config.on_error,
            class_names=self.class_names,
        )
        assert isinstance(found, ImageSplit)  # a shape was asked for
        return found


def _read_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line."""
    remedy = "write one name per line, as UTF-8, or set datasets.npz.class_names to null"
    lines = read_text(path, f"the file of class names {path}", remedy).splitlines()
    names = tuple(line.strip() for line in lines)
    if not names or "" in names:
        line = names.index("") + 1 if names else 1
        raise DataError(f"{path} has no class name in line {line}; write one name per line.")
    return names
