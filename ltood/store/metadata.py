"""Attributes of a store: what it holds, what it was made from, and its fingerprint."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import write_atomically
from ltood.store.chunks import checksum
from ltood.store.disks import Disk, disk_at, read_document
from ltood.store.layout import SCHEMA, ArraySpec, SplitSpec, digest

ATTRIBUTE = "ltood"
CHECKSUM_ATTRIBUTE = "ltood_crc32c"
DOCUMENT = "zarr.json"
#: Names of splits and arrays, which are folders of a store.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
#: Attributes that do not decide what is stored, or follow from the rest.
_NOT_COUNTED = frozenset({"fingerprint", "schema", "complete", "provenance"})


def fingerprint(attributes: Mapping[str, Any]) -> str:
    """Digest of all attributes that decide what is stored, with the splits' own fingerprints.

    The provenance does not count by itself: what of it decides the rows is in the fingerprints
    of the splits.
    """
    return digest({key: attributes[key] for key in attributes.keys() - _NOT_COUNTED})


def read_attributes(place: Path | str | Disk, kind: str) -> dict[str, Any]:
    """Our attributes of a store.

    Args:
        place: Its folder, its address or its disk.
        kind: "features" or "scores".

    Raises:
        StoreError: If there is no such store or it is of another kind or schema.
        CorruptStoreError: If they are unreadable or were changed.
    """
    disk = disk_at(place) if isinstance(place, Path | str) else place
    path = disk.show(disk.folder)
    content = read_root(disk).get("attributes", {}).get(ATTRIBUTE)
    if not isinstance(content, dict):
        raise StoreError(
            f"{path} is a Zarr group but not an ltood store; `ltood import` makes one from arrays."
        )
    if content.get("schema") != SCHEMA:
        raise StoreError(
            f"{path} has schema {content.get('schema')}; this version reads {SCHEMA}. Run the "
            "command or stage that wrote it again (`ltood import`, `ltood score`, `dvc repro`)."
        )
    if content.get("kind") != kind:
        raise StoreError(f"{path} is a store of {content.get('kind')}, not of {kind}.")
    if content.get("fingerprint") != fingerprint(content):
        raise CorruptStoreError(
            f"{path}/{DOCUMENT} does not have the fingerprint it was written with; write the store "
            "again."
        )
    _check_names(disk, content)
    return content


def store_kind(place: Path | str) -> Literal["features", "scores", "other"]:
    """Kind of the store at a folder or address; "other" for Zarr groups that ltood did not write.

    Raises:
        StoreError: If there is no store.
    """
    content = read_root(disk_at(place)).get("attributes", {}).get(ATTRIBUTE)
    found = content.get("kind") if isinstance(content, dict) else None
    if found == "features":
        return "features"
    return "scores" if found == "scores" else "other"


def seal_root(path: Path, *, complete: bool) -> None:
    """Rewrite the root's metadata with `complete` and with its checksum.

    The last write of a store; a store that is sealed already is left alone.
    """
    file = path / DOCUMENT
    document = json.loads(file.read_bytes())
    attributes = document["attributes"]
    attributes[ATTRIBUTE]["complete"] = complete
    sealed = _root_checksum(document)
    if attributes.get(CHECKSUM_ATTRIBUTE) != sealed:
        attributes[CHECKSUM_ATTRIBUTE] = sealed
        write_atomically(file, json.dumps(document, indent=2).encode(), sweep=False)


def spec_from_json(splits: Mapping[str, Any]) -> dict[str, tuple[SplitSpec, int]]:
    """Split specifications and rows per chunk from a store's attributes."""
    return {
        name: (
            SplitSpec(
                entry["rows"],
                {
                    key: ArraySpec(array["dtype"], tuple(array["shape"]))
                    for key, array in entry["arrays"].items()
                },
                entry["fingerprint"],
            ),
            entry["rows_per_chunk"],
        )
        for name, entry in splits.items()
    }


def _check_names(disk: Disk, content: Mapping[str, Any]) -> None:
    """Refuse splits and arrays whose names could be files outside the store.

    Raises:
        CorruptStoreError: With the name.
    """
    splits, head = content.get("splits", {}), content.get("head", {})
    arrays = [key for split in splits.values() for key in split["arrays"]]
    for name in (*splits, *arrays, *head):
        # Extra arrays of a split stand in a folder inside of it.
        owner, between, group = name.partition("/")
        own = owner in splits and name in splits
        if not _NAME.fullmatch(group if between and own else name):
            raise CorruptStoreError(
                f"{disk.show(disk.folder / DOCUMENT)} names {name!r}, which cannot be a split or "
                "an array; write the store again."
            )


def read_root(disk: Disk) -> dict[str, Any]:
    """The root's Zarr metadata, compared with its checksum where it is ours.

    Raises:
        StoreError: If there is no store.
        CorruptStoreError: If it is unreadable or was changed.
    """
    path, file = disk.show(disk.folder), disk.show(disk.folder / DOCUMENT)
    try:
        document = read_document(disk, disk.folder / DOCUMENT, "write the store again")
    except FileNotFoundError:
        advice = "." if disk.is_near else "; check the bucket and the folder."
        raise StoreError(f"{path} is not a store: {file} does not exist{advice}") from None
    except CorruptStoreError:
        if not disk.is_near or disk.folder.is_dir() or not disk.folder.exists():
            raise
        raise StoreError(f"{path} is not a store but a file.") from None
    if not isinstance(document, dict) or not isinstance(document.get("attributes", {}), dict):
        raise CorruptStoreError(f"{file} does not hold Zarr metadata; write the store again.")
    attributes = document.get("attributes", {})
    content, found = attributes.get(ATTRIBUTE), attributes.get(CHECKSUM_ATTRIBUTE)
    ours = isinstance(content, dict) and content.get("schema") == SCHEMA
    if (ours or found is not None) and found != _root_checksum(document):
        raise CorruptStoreError(f"{file} changed after it was written; write the store again.")
    return document


def _root_checksum(document: Mapping[str, Any]) -> str:
    """Checksum of the root's metadata without the checksum itself."""
    rest = {k: v for k, v in document["attributes"].items() if k != CHECKSUM_ATTRIBUTE}
    return checksum(json.dumps({**document, "attributes": rest}, sort_keys=True).encode())
