"""Zarr's documents of groups and arrays, compared with the root, which lists and seals them.

ltood reads a store by its root alone; other Zarr readers may look at these documents too.
"""

import json
from collections.abc import Mapping
from typing import Any

from ltood.core.errors import CorruptStoreError
from ltood.store.disks import Disk
from ltood.store.metadata import DOCUMENT, read_root

#: What the root adds to the document of a group.
_ADDED = "consolidated_metadata"


def listed_documents(disk: Disk) -> dict[str, bytes]:
    """Content of every document but the root's, by its path from the store's folder on.

    Raises:
        StoreError: If there is no store.
        CorruptStoreError: If its root is unreadable or was changed.
    """
    listed: Mapping[str, Any] = read_root(disk).get(_ADDED, {}).get("metadata", {})
    return {
        f"{name}/{DOCUMENT}": json.dumps(
            {key: value for key, value in entry.items() if key != _ADDED}, indent=2
        ).encode()
        for name, entry in sorted(listed.items())
    }


def says_otherwise(content: bytes | None, wanted: bytes) -> bool:
    """Whether a document is missing, unreadable, or has other values than `wanted`."""
    try:
        return content is None or bool(json.loads(content) != json.loads(wanted))
    except (ValueError, RecursionError):
        return True


def damaged_documents(disk: Disk) -> dict[str, bytes]:
    """Documents of a store that are missing or changed, with the content that they should have.

    Raises:
        StoreError: If there is no store.
        CorruptStoreError: If its root is unreadable or was changed.
    """
    listed = listed_documents(disk)

    def found(name: str) -> bytes | None:
        try:
            return disk.read(disk.folder / name)
        except (FileNotFoundError, NotADirectoryError, CorruptStoreError):
            return None

    contents = zip(listed.items(), disk.each(found, listed), strict=True)
    return {name: wanted for (name, wanted), content in contents if says_otherwise(content, wanted)}


def refuse_damaged_documents(disk: Disk) -> None:
    """Compare all documents of a store with its root.

    Raises:
        StoreError: If there is no store.
        CorruptStoreError: If one is missing or changed, or the root is.
    """
    for name in damaged_documents(disk):
        raise CorruptStoreError(damage(disk, name))


def damage(disk: Disk, name: str) -> str:
    """The sentence about a damaged document."""
    return (
        f"{disk.show(disk.folder / name)} is missing or was changed; `ltood store repair` writes "
        "it again."
    )
