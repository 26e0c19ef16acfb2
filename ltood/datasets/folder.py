"""Own images: one folder for each class, or a CSV list, with any OOD sets.

    root/train/<class>/**/*.jpg
    root/test/<class>/**/*.jpg
    root/val/<class>/**/*.jpg     where there is one

or, with `manifest`, a CSV file with the columns path (from the root on), label (a class name) and
split (train, val or test). Classes are numbered in the order of their sorted names.
"""

from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from ltood.core.errors import DataError
from ltood.datasets._image_folders import ImageFolderConfig, ImageFolderDataset, class_folders
from ltood.images.files import ImageFiles
from ltood.images.folders import folders_of
from ltood.images.lists import check_paths, parse_table, read_text
from ltood.images.sources import WatchedFiles
from ltood.runtime.workspace import locate

SOURCE = "images of the user, under whatever licence they have"

_SPLITS = ("train", "val", "test")
_COLUMNS = ("path", "label", "split")


@dataclass(frozen=True)
class Config(ImageFolderConfig):
    """Settings of own images, in addition to those of `ImageFolderConfig`.

    Attributes:
        manifest: CSV list, relative to the root; null reads class folders.
    """

    root: str = "data/sets/folder"
    manifest: str | None = None


class Dataset(ImageFolderDataset):
    """Class folders or a list; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings and read the list, where there is one.

        Raises:
            DataError: If the list is unreadable or malformed.
        """
        self._root = locate(config.root)
        self._folder_config = config
        self._rows = cache(self._read_manifest)
        # The class names are those of its folders, so it is walked once for both.
        self._train = cache(partial(class_folders, self._root / "train", None, config.on_error))
        has_val = (self._root / "val").is_dir()
        if config.manifest is not None and (self._root / config.manifest).is_file():
            has_val = any(split == "val" for _, _, split in self._rows())
        names = [name for name in _SPLITS if name != "val" or has_val]
        listings = {name: partial(self._files, name) for name in names}
        super().__init__(config, cache(self._class_names), listings)

    def _class_names(self) -> tuple[str, ...]:
        if self._folder_config.manifest is not None:
            return tuple(sorted({label for _, label, split in self._rows() if split == "train"}))
        return self._train()[1]

    def _files(self, name: str) -> ImageFiles:
        on_error = self._folder_config.on_error
        if self._folder_config.manifest is None:
            if name == "train":
                files = self._train()[0]
                return replace(files, notes=(*files.notes, *self._unread()))
            return class_folders(self._root / name, self.class_names, on_error)[0]
        where = self._root / self._folder_config.manifest
        chosen = [(path, label) for path, label, split in self._rows() if split == name]
        if not chosen:
            raise DataError(f"the list {where} has no image of the split {name}; add at least one.")
        numbers = {label: number for number, label in enumerate(self.class_names)}
        for path, label in chosen:
            if label not in numbers:
                raise DataError(
                    f"{where} gives {path!r} the class {label!r}, which no training image has; "
                    f"the classes are {', '.join(self.class_names[:5])}."
                )
        paths = tuple(path for path, _ in chosen)
        check_paths(self._root, paths, str(where))
        labels = np.array([numbers[label] for _, label in chosen], dtype=np.int64)
        return ImageFiles(self._root, paths, labels, np.arange(len(paths)), on_error=on_error)

    def watched(self) -> dict[str, WatchedFiles]:
        """All images, those of the outliers, and the list where there is one."""
        manifest = self._folder_config.manifest
        listed = {} if manifest is None else {"manifest": WatchedFiles.of(self._root / manifest)}
        return {**listed, **super().watched()}

    def _unread(self) -> tuple[str, ...]:
        """A note about folders that are not splits."""
        others = [name for name in folders_of(self._root) if name not in _SPLITS]
        if not others:
            return ()
        return (f"folders that are not read: {', '.join(others)} (splits: {', '.join(_SPLITS)}).",)

    def _read_manifest(self) -> list[tuple[str, str, str]]:
        where = self._root / str(self._folder_config.manifest)
        text = read_text(where, f"the list {where}", "correct datasets.folder.manifest")
        columns, rows = parse_table(
            text, f"the list {where}", "correct it, or datasets.folder.manifest"
        )
        missing = [name for name in _COLUMNS if name not in columns]
        if columns and missing:
            raise DataError(
                f"the first line of {where} lacks the column {missing[0]}; it must name path, "
                f"label and split, separated by commas, and is {','.join(columns)[:60]!r}."
            )
        found = []
        for number, row in enumerate(rows, 2):
            path, label, split = (row.get(key) or "" for key in _COLUMNS)
            if not path or not label or split not in _SPLITS:
                raise DataError(
                    f"line {number} of {where} needs a path, a label and a split of "
                    f"{', '.join(_SPLITS)}; it has {path!r}, {label!r} and {split!r}."
                )
            found.append((path, label, split))
        if not found:
            raise DataError(f"the list {where} is empty; write one image per line.")
        return found
