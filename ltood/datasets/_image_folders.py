"""ID datasets whose images lie in folders or lists, with their OOD sets.

`ImageFolderDataset` is what the entries `folder`, `image_lists`, `imagenet` and `imagenet_lt`
share.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from ltood.core.errors import DataError
from ltood.core.limits import Count, Limits, Seed, Share
from ltood.core.settings import Settings
from ltood.datasets._outliers import open_outliers, outlier_sources, watched_outliers
from ltood.images.arrays import ImageSplit
from ltood.images.checking import load
from ltood.images.decoding import Geometry
from ltood.images.fewshot import few_shot_rows, listed_paths, report_shots
from ltood.images.files import ImageFiles, OnError
from ltood.images.folders import Listing, folders_of, images_below, list_images
from ltood.images.lists import read_text
from ltood.images.longtail import cut_long_tail
from ltood.images.sources import WatchedFiles
from ltood.runtime.console import log
from ltood.runtime.workspace import locate

Listings = Mapping[str, Callable[[], ImageFiles]]


@dataclass(frozen=True)
class ImageFolderConfig(Settings):
    """Settings of ID datasets made of image files.

    Attributes:
        root: Folder of the dataset, relative to where the command runs.
        size: Side in pixels to which all images are brought, once, while preparing; for sets
            that fit into memory and backbones without a size of their own. Null leaves them on
            disk.
        mode: How: "squash" the whole image, or a "centre_crop"; outliers alike.
        jpeg_side: Pixels that the shorter side of a JPEG keeps at least when it is decoded at 1/2,
            1/4 or 1/8 of its size, which is faster for large photographs and gives slightly other
            pixels; twice what the network sees is plenty. Null decodes files whole.
        on_error: "skip" lists and skips files that cannot be decoded; "raise" refuses
            them.
        imbalance: Profile of the training class counts; "none" keeps every image.
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        shots: Training images of each class, drawn by `shots_seed`; null takes all.
        shots_seed: Chooses the few shots; null takes those of all seeds in `shots_list`.
        shots_list: CSV file of few-shot selections with the columns path and optionally seed and
            shots, in the place of a draw; null draws.
        ood: OOD test sets, each a name and where its images are, such as dtd=data/dtd/images, or
            the bare name of a known set (`ltood data list`).
        csid: Sets of ID classes under covariate shift, such as corrupted or redrawn images, in
            the same forms; every image has a class. They count as ID where the full spectrum
            is evaluated.
        val_ood: Outliers to tune on, in the same forms; no test figure touches them.
        aux: Where auxiliary outliers are, in the same forms; null for none.
    """

    root: str
    size: Annotated[int, Limits(at_least=1, at_most=8192)] | None = None
    mode: Literal["squash", "centre_crop"] = "squash"
    jpeg_side: Annotated[int, Limits(at_least=1, at_most=65_535)] | None = None
    on_error: OnError = "raise"
    imbalance: Literal["exponential", "step", "none"] = "none"
    imbalance_ratio: Share = 0.01
    shots: Count | None = None
    shots_seed: Seed | None = 1
    shots_list: str | None = None
    ood: tuple[str, ...] = ()
    csid: tuple[str, ...] = ()
    val_ood: tuple[str, ...] = ()
    aux: str | None = None

    def check(self) -> None:
        """Check the OOD sets, the root and what is chosen of the images."""
        outlier_sources(self)
        if not self.root:
            raise self.fault("root", "is empty; name the folder of the images.")
        if self.shots is not None and self.shots_seed is None and self.shots_list is None:
            raise self.fault(
                "shots_seed",
                "is null, which takes the shots of all seeds in a list, but shots_list is null "
                "too; set one of them.",
            )
        if self.imbalance != "none" and (self.shots is not None or self.shots_list is not None):
            raise self.fault(
                "imbalance",
                f"is {self.imbalance!r} and shots are set too; choose one of them.",
            )


class ImageFolderDataset:
    """ID classes as image files; an `ImageDataset`. Listings are read when a split is asked for."""

    def __init__(
        self,
        config: ImageFolderConfig,
        class_names: Callable[[], tuple[str, ...]],
        listings: Listings | Callable[[], Listings],
    ) -> None:
        """Take what the entry knows.

        Args:
            config: Settings.
            class_names: Gives the names of the ID classes, in label order.
            listings: For each ID split what lists its images with their classes, or what gives
                that once it is asked for.
        """
        self._config = config
        self._listed_by = listings
        self._outliers = outlier_sources(config)
        self._names = class_names
        self._listed: dict[str, ImageFiles] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the ID classes, in label order.

        Raises:
            DataError: If the files that name them are unusable.
        """
        return self._names()

    @property
    def _listings(self) -> Listings:
        return self._listed_by() if callable(self._listed_by) else self._listed_by

    def splits(self) -> tuple[str, ...]:
        """Names of all splits."""
        return (*self._listings, *self._outliers)

    def split(self, name: str) -> ImageSplit | ImageFiles:
        """Images of one split, on disk or brought to `size`; the training split is cut.

        Raises:
            DataError: If there is no such split or its files are unusable.
            ConfigError: If the imbalance ratio leaves a class without images.
        """
        config = self._config
        if name not in self.splits():
            known = ", ".join(self.splits())
            raise DataError(f"{config.section} has no split {name!r}; it has {known}.")
        if name in self._outliers:
            shape = None if config.size is None else (config.size, config.size, 3)
            return open_outliers(
                self._outliers,
                name,
                shape,
                on_error=config.on_error,
                class_names=self.class_names,
                mode=config.mode,
                jpeg_side=config.jpeg_side,
            )
        files = replace(self._list(name), jpeg_side=config.jpeg_side)
        if name == "train":
            files = self._cut(files)
        if config.size is None:
            return files
        size = (config.size, config.size)
        return load(files, Geometry(size, config.mode), name)

    def watched(self) -> dict[str, WatchedFiles]:
        """All files that are listed, before any cut, and those of the outliers."""
        config = self._config
        stay = config.size is None
        found = {}
        for name in self._listings:
            files = self._list(name)
            found[name] = WatchedFiles(files.root, files.paths, stay=stay)
        if config.shots_list is not None:
            found["shots_list"] = WatchedFiles.of(locate(config.shots_list))
        return {**found, **watched_outliers(self._outliers, stay=stay)}

    def _list(self, name: str) -> ImageFiles:
        """Files of an ID split, listed once."""
        if name not in self._listed:
            self._listed[name] = self._listings[name]()
        return self._listed[name]

    def _cut(self, train: ImageFiles) -> ImageFiles:
        """Training images that the long tail or the few shots keep."""
        config = self._config
        if config.shots_list is not None:
            return self._chosen(train, config.shots_list)
        if config.shots is not None and config.shots_seed is not None:
            rows = few_shot_rows(
                train.labels, train.paths, shots=config.shots, seed=config.shots_seed
            )
            report_shots(train.labels[rows], config.shots, config.section)
            return train.take(rows)
        return cut_long_tail(
            train,
            len(self.class_names),
            ratio=config.imbalance_ratio,
            profile=config.imbalance,
            class_names=self.class_names,
        )

    def _chosen(self, train: ImageFiles, where: str) -> ImageFiles:
        config = self._config
        content = read_text(
            locate(where),
            f"{config.section}.shots_list",
            "correct the path or set it to null",
        )
        rows = {path: row for row, path in enumerate(train.paths)}
        wanted = listed_paths(content, where, shots=config.shots, seed=config.shots_seed)
        strangers = [path for path in wanted if path not in rows]
        if strangers:
            raise DataError(
                f"{where} lists {strangers[0]!r}, which is not a training image of {train.root}; "
                "correct the list or the folder."
            )
        return train.take(np.array([rows[path] for path in wanted]))


def class_folders(
    root: Path,
    names: tuple[str, ...] | None,
    on_error: OnError,
    leave_out: Collection[str] = (),
) -> tuple[ImageFiles, tuple[str, ...]]:
    """Image files in one folder for each class, and the names of the folders.

    Args:
        root: Holds the folders.
        names: Folders in label order, of which some may be missing or empty; None takes all,
            sorted, and none may be empty.
        on_error: What preparing does about files that cannot be decoded.
        leave_out: Folders that are not classes.

    Raises:
        DataError: If there are no images, or a folder is unknown or wrongly empty.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; create it with one folder per class.")
    found = tuple(name for name in folders_of(root) if name not in leave_out)
    if not found:
        raise DataError(f"{root} holds no folders; put the images of each class into its own.")
    unknown = [name for name in found if names is not None and name not in names]
    if unknown:
        raise DataError(
            f"{root} has the folder {unknown[0]!r}, which is not one of the "
            f"{len(names or found):,} classes; every "
            "split has the same classes. Move the folder away or correct its name."
        )
    whole, labels, empty = Listing(), list[int](), list[str]()
    for label, name in enumerate(names or found):
        if names is None:
            below = images_below(root / name)
        elif name in found:
            below = list_images(root / name)
        else:
            below = Listing()
        if not below.paths:
            empty.append(name)
        whole.add(below, name)
        labels += [label] * len(below.paths)
    notes = list(whole.notes())
    if empty:
        notes.append(
            f"no images of {len(empty):,} of {len(names or found):,} classes "
            f"({', '.join(empty[:5])})."
        )
    paths, ids = tuple(whole.paths), np.arange(len(whole.paths))
    files = ImageFiles(root, paths, np.array(labels), ids, on_error=on_error, notes=tuple(notes))
    return files, names or found


def check_classes(files: ImageFiles, num_classes: int, where: str) -> ImageFiles:
    """Refuse labels outside 0 to C - 1 and paths that lead nowhere.

    Raises:
        DataError: On the first of them.
    """
    bad = (files.labels < 0) | (files.labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{where} gives {files.paths[row]!r} the class {files.labels[row]}; classes run from 0 "
            f"to {num_classes - 1}. Correct the list."
        )
    return files


def check_counts(
    files: ImageFiles, num_classes: int, expected: tuple[int, ...], where: str
) -> None:
    """Log when a published set has other numbers of images than published."""
    if len(files) not in expected:
        numbers = " or ".join(f"{number:,}" for number in expected)
        log(f"{where} has {len(files):,} images; the published set has {numbers}.")
    missing = num_classes - len(np.unique(files.labels))
    if missing:
        raise DataError(
            f"{where} has no images of {missing} of the {num_classes} classes; complete it."
        )
