"""Base of feature stores and score stores that are opened for reading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from ltood.core.errors import StoreError
from ltood.store.chunks import SplitFiles
from ltood.store.disks import Disk, disk_at
from ltood.store.layout import (
    OOD_PREFIX,
    VIEWS_SPLIT,
    SplitSpec,
    group_of,
    in_order,
    is_part,
    part_name,
)
from ltood.store.metadata import read_attributes, spec_from_json
from ltood.store.rows import StoredRows


class OpenedStore:
    """A store opened for reading.

    Attributes:
        KIND: "features" or "scores".
        path: Store folder, or the address of a store that is elsewhere.
        disk: How its files are reached.
        attributes: Our attributes of the store.
    """

    KIND: ClassVar[str]

    def __init__(self, disk: Disk, attributes: Mapping[str, Any]) -> None:
        """Wrap a store whose attributes were read; use `open`."""
        self.disk = disk
        self.path: Path | str = disk.folder if disk.is_near else disk.show(disk.folder)
        self.attributes = dict(attributes)
        self._specs = spec_from_json(attributes["splits"])
        self._rows: dict[str, StoredRows] = {}

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a store read-only.

        Args:
            path: Folder, or an address that fsspec opens, such as "s3://bucket/folder".

        Raises:
            StoreError: If there is none, or it is of another kind or schema.
            TransferError: If an address refuses or cannot be reached.
        """
        disk = disk_at(path)
        return cls(disk, read_attributes(disk, cls.KIND))

    @property
    def splits(self) -> list[str]:
        """Names: train, val, test, aux and train_views where present, then OOD sets by name."""
        return in_order(name for name in self._specs if not is_part(name))

    @property
    def parts(self) -> list[str]:
        """All splits, and after them their parts with extra arrays, such as "test/odin"."""
        return self.splits + sorted(filter(is_part, self._specs))

    def groups(self, split: str) -> list[str]:
        """Groups of extra arrays that a split holds, such as "odin"."""
        return [group_of(name) for name in self.parts if name == part_name(split, group_of(name))]

    @property
    def image_splits(self) -> list[str]:
        """Names of the splits of which a row is one image, and not several views of it."""
        return [name for name in self.splits if name != VIEWS_SPLIT]

    @property
    def ood_splits(self) -> list[str]:
        """Names of the OOD test sets, with their prefix."""
        return [name for name in self.splits if name.startswith(OOD_PREFIX)]

    def split_spec(self, name: str) -> tuple[SplitSpec, int]:
        """Specification and rows per chunk of one split.

        Raises:
            StoreError: If there is no such split.
        """
        if name not in self._specs:
            raise StoreError(f"{self.path} has no split {name!r}; it has {', '.join(self.splits)}.")
        return self._specs[name]

    def files(self, name: str) -> SplitFiles:
        """Chunks and markers of one split.

        Raises:
            StoreError: If there is no such split.
        """
        return SplitFiles(self.disk.folder / name, name, *self.split_spec(name), self.disk)

    def rows(self, name: str) -> StoredRows:
        """Stored rows of one split, opened once.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        if name not in self._rows:
            self._rows[name] = StoredRows(self.files(name))
        return self._rows[name]
