"""Every byte of a store compared with its checksum, and the list of files that a store is."""

from collections.abc import Iterator
from pathlib import Path

from ltood.core.errors import StoreError
from ltood.runtime.console import progress
from ltood.store.chunks import chunk_path
from ltood.store.features import FeatureStore
from ltood.store.head import GROUP, read_head
from ltood.store.metadata import DOCUMENT, store_kind
from ltood.store.scores import ScoreStore

AnyStore = FeatureStore | ScoreStore


def open_store(path: Path) -> AnyStore:
    """Open a feature store or a score store, whichever it is.

    Raises:
        StoreError: If there is no such store.
        CorruptStoreError: If its attributes are unreadable or were changed.
    """
    return ScoreStore.open(path) if store_kind(path) == "scores" else FeatureStore.open(path)


def verify_store(path: Path) -> Iterator[tuple[str, int]]:
    """Read every chunk of a store, and its head, and compare the checksums.

    Args:
        path: Feature store or score store.

    Yields:
        Name and rows of each split that is whole.

    Raises:
        StoreError: If there is no such store.
        IncompleteStoreError: If a split has unwritten rows.
        CorruptStoreError: If bytes are missing or changed.
    """
    opened = open_store(path)
    read_head(path, opened.attributes.get("head", {}))
    for name in opened.parts:
        rows, files = opened.rows(name), opened.files(name)
        with progress(f"verify {name}", len(rows)) as advance:
            for start, stop in files.ranges:
                for array in rows.spec.arrays:
                    rows.read(array, start, stop)
                advance(stop - start)
        yield name, len(rows)


def store_files(opened: AnyStore) -> list[str]:
    """Files of a store, in alphabetical order; whatever else lies in its folder is left out.

    Args:
        opened: The store.

    Returns:
        Paths from the store's folder on, with forward slashes.

    Raises:
        StoreError: If one is missing.
    """
    root = opened.path
    found = [root / DOCUMENT]
    for name in opened.parts:
        files = opened.files(name)
        found.append(files.folder / DOCUMENT)
        for array in files.spec.arrays:
            found.append(files.folder / array / DOCUMENT)
            found += (files.chunk_path(array, chunk) for chunk in range(len(files.ranges)))
        found += (files.marker_path(chunk) for chunk in range(len(files.ranges)))
    head = opened.attributes.get("head", {})
    if head:
        found.append(root / GROUP / DOCUMENT)
        for array, entry in head.items():
            found.append(root / GROUP / array / DOCUMENT)
            found.append(chunk_path(root / GROUP, array, 0, len(entry["shape"])))
    for file in found:
        if not file.is_file():
            raise StoreError(f"{file} is missing; write the store again.")
    return sorted(file.relative_to(root).as_posix() for file in found)
