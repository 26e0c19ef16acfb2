"""Base of the entries `cifar10` and `cifar100`: their settings and the dataset itself."""

from dataclasses import dataclass
from typing import Literal

from ltood.core.errors import DataError
from ltood.core.limits import Share
from ltood.core.settings import Settings
from ltood.datasets._cifar_files import SIDE, CifarFiles
from ltood.datasets._outliers import open_outliers, outlier_sources, watched_outliers
from ltood.images.arrays import ImageSplit
from ltood.images.files import OnError
from ltood.images.longtail import cut_long_tail
from ltood.images.sources import WatchedFiles
from ltood.runtime.workspace import locate


@dataclass(frozen=True)
class CifarConfig(Settings):
    """Settings that both CIFAR sets have.

    Attributes:
        root: Folder of the unpacked archive, relative to where the command runs.
        imbalance: Profile of the training class counts; "none" keeps all 50,000 images.
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        ood: OOD test sets, each a name and where its images are, such as svhn=data/svhn.npz, or
            the bare name of a known set (`ltood data list`).
        csid: Sets of ID classes under covariate shift, such as corrupted or redrawn images, in
            the same forms; every image has a class. They count as ID where the full spectrum
            is evaluated.
        val_ood: Outliers to tune on, in the same forms; no test figure touches them.
        aux: Where auxiliary outliers are, in the same forms; null for none.
        on_error: What to do about their files that cannot be decoded: "raise" or "skip".
    """

    root: str
    imbalance: Literal["exponential", "step", "none"] = "exponential"
    imbalance_ratio: Share = 0.01
    ood: tuple[str, ...] = ()
    csid: tuple[str, ...] = ()
    val_ood: tuple[str, ...] = ()
    aux: str | None = None
    on_error: OnError = "raise"

    def check(self) -> None:
        """Check the OOD sets and the root."""
        outlier_sources(self)
        if not self.root:
            raise self.fault("root", "is empty; name the folder of the unpacked archive.")


class CifarImages:
    """Official images, the training split long-tailed, with outliers from elsewhere.

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
        self._root = locate(config.root)
        self._ratio, self._profile = config.imbalance_ratio, config.imbalance
        self._outliers = outlier_sources(config)
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
            found = open_outliers(
                self._outliers,
                name,
                (SIDE, SIDE, 3),
                on_error=self._on_error,
                class_names=self.class_names,
            )
            assert isinstance(found, ImageSplit)  # a shape was asked for
            return found
        images = self._files.read(self._root, name)
        if name == "test":
            return images
        num_classes = len(self._class_names)
        return cut_long_tail(images, num_classes, ratio=self._ratio, profile=self._profile)

    def watched(self) -> dict[str, WatchedFiles]:
        """The official files, and those of the outliers."""
        files = self._files
        files.check_sizes(self._root)
        return {
            "train": WatchedFiles(self._root, files.train),
            "test": WatchedFiles(self._root, (files.test,)),
            **watched_outliers(self._outliers, stay=False),
        }
