"""Own images: class folders with or without splits, lists, folders of `datasets`; any OOD sets.

    root/<class>/**/*.jpg               divided by `split`
    root/train/<class>/**/*.jpg         as they are divided; also training, valid, testing …
    root/test/<class>/**/*.jpg
    root/val/<class>/**/*.jpg           where there is one

or, with `manifest` or as the root itself, a list (CSV, JSON lines or Parquet) with the columns
path, label (a class name) and, where it is known, split (train, val or test). What the library
`datasets` writes is read as well (`_own_tables.py`). Every folder directly below the root, or below
that of a split, is a class, but for those that `ood`, `csid`, `val_ood` or `aux` name. Classes are
numbered in the order of their sorted names, or as `datasets` numbers them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

from ltood.core.errors import DataError
from ltood.core.limits import Limits, Seed
from ltood.datasets._image_folders import ImageFolderConfig, ImageFolderDataset
from ltood.datasets._own_folders import read_folders
from ltood.datasets._own_lists import metadata_tables, read_manifest, read_metadata
from ltood.datasets._own_pictures import UNDIVIDED, Division, Found, split_up
from ltood.datasets._own_tables import parquet_shards, read_shards, saved_shards
from ltood.images.arrow_images import image_column, read_schema
from ltood.images.files import ImageFiles, OnError
from ltood.images.packed import PackedFiles
from ltood.images.sources import WatchedFiles
from ltood.images.splitting import Rule
from ltood.images.tables import TABLES
from ltood.runtime.workspace import locate

SOURCE = "images of the user, under whatever licence they have"

#: A folder inside the root by its name alone, and how many rows are taken.
_BARE = re.compile(r"(?P<name>\w+)(#\d+)?")


@dataclass(frozen=True)
class Config(ImageFolderConfig):
    """Settings of own images, in addition to those of `ImageFolderConfig`.

    Attributes:
        root: Folder of the images, or a list of them, relative to where the command runs.
        manifest: List of the images, relative to the root; null looks at the folders.
        label_column: Column of a list that holds the class; null takes label.
        split: Shares of train, val and test by which images are divided that come without a
            split, class by class.
        split_seed: Chooses among such divisions.
        split_file: CSV file that remembers the division and may be edited; null takes
            data/splits/<root>_<shares>_<seed>.csv.
        val_share: Share of the training images that becomes val where there are train and test
            alone; null leaves them without val.
    """

    root: str = "data/sets/folder"
    manifest: str | None = None
    label_column: str | None = None
    split: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: Seed = 0
    split_file: str | None = None
    val_share: Annotated[float, Limits(above=0, below=1)] | None = None

    def check(self) -> None:
        """Check the shares, and what `ImageFolderConfig` checks."""
        super().check()
        if min(self.split) < 0 or self.split[0] == 0 or abs(sum(self.split) - 1) > 1e-6:
            raise self.fault(
                "split",
                f"is {list(self.split)}; it must be the shares of train, val and test, none "
                "negative, the first above 0, which sum to 1, such as [0.7, 0.1, 0.2].",
            )
        if self.split[2] == 0:
            raise self.fault(
                "split", f"is {list(self.split)}; without a share of test nothing can be evaluated."
            )


class Dataset(ImageFolderDataset):
    """Class folders or a list; an `ImageDataset`. Nothing is read before it is asked for."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        self._root = locate(config.root)
        self._own = config
        super().__init__(config, lambda: self._found.class_names, self._by_split)
        self._outliers = {name: self._inside(text) for name, text in self._outliers.items()}

    def watched(self) -> dict[str, WatchedFiles]:
        """All images, those of the outliers, and the list where there is one."""
        found = {**self._found.tables, **super().watched()}
        parts, remembering = self._divided
        for name, part in parts.items():
            if isinstance(part, PackedFiles):
                found[name] = WatchedFiles(part.root, part.shards)
                if remembering is not None:
                    found["division"] = WatchedFiles.of(remembering)
        return found

    @cached_property
    def _found(self) -> Found:
        """The images as they lie there."""
        config, root = self._own, self._root
        if not root.exists():
            raise DataError(
                f"there is no folder {root}; put the images there, one folder for each class, or "
                "correct datasets.folder.root."
            )
        if not root.is_dir() and not root.is_file():
            raise DataError(f"{root} is neither a folder nor a file; correct datasets.folder.root.")
        own = (config.on_error, config.label_column)
        if root.is_file():
            return _read_file(root, *own)
        if config.manifest is not None:
            return read_manifest(root / config.manifest, root, *own)
        if shards := saved_shards(root) or parquet_shards(root):
            return read_shards(root, shards, *own)
        if tables := metadata_tables(root, config.label_column):
            return read_metadata(root, tables, *own)
        return read_folders(root, config.on_error, self._aside())

    def _by_split(self) -> Mapping[str, Callable[[], ImageFiles]]:
        """What lists the images of each split."""
        if not self._root.exists():
            return dict.fromkeys(("train", "test"), self._missing)
        parts, _ = self._divided
        return {name: partial(parts.__getitem__, name) for name in parts}

    @cached_property
    def _divided(self) -> tuple[dict[str, ImageFiles], Path | None]:
        """Images of every split, and the file that remembers how they were divided."""
        config = self._own
        rule = Rule(config.split, config.split_seed)
        root = self._root.parent if self._root.is_file() else self._root
        return split_up(self._found, Division(rule, config.val_share, config.split_file, root))

    def _missing(self) -> ImageFiles:
        raise AssertionError(self._found)  # It raises the error that says what is missing.

    def _inside(self, source: str) -> str:
        """A source, whose bare name is that of a folder in the root first."""
        found = _BARE.fullmatch(source)
        if found and (self._root / found["name"]).is_dir():
            return str(self._root / source)
        return source

    def _aside(self) -> frozenset[str]:
        """Folders directly below the root that sources of outliers lie in."""
        root, aside = self._root.resolve(), set()
        for source in self._outliers.values():
            for text in (source, source.rpartition("#")[0], source.partition("@")[0]):
                path = locate(text)
                inner = path.resolve()
                if text and path.exists() and inner != root and inner.is_relative_to(root):
                    aside.add(inner.relative_to(root).parts[0])
        return frozenset(aside)


def _read_file(path: Path, on_error: OnError, label_column: str | None) -> Found:
    """Images of one file: a list, or a file that holds them."""
    ending = path.suffix.lower()
    if ending not in (*TABLES, ".arrow"):
        raise DataError(
            f"datasets.folder.root is {path}, a file of an unknown kind; name a folder, or a list "
            f"({', '.join(TABLES)})."
        )
    if ending in (".arrow", ".parquet") and image_column(read_schema(path)) is not None:
        return read_shards(path.parent, {UNDIVIDED: [path.name]}, on_error, label_column)
    return read_manifest(path, path.parent, on_error, label_column)
