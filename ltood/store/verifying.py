"""Every byte of a store compared with its checksum, and the list of files that a store is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ltood.core.errors import IncompleteStoreError, StoreError
from ltood.runtime.console import progress
from ltood.store.chunks import SplitFiles, chunk_path
from ltood.store.features import FeatureStore
from ltood.store.head import GROUP, read_head
from ltood.store.listed import refuse_damaged_documents
from ltood.store.metadata import DOCUMENT, store_kind
from ltood.store.scores import ScoreStore

AnyStore = FeatureStore | ScoreStore


def open_store(path: Path | str) -> AnyStore:
    """Open a feature store or a score store, whichever it is.

    Args:
        path: Folder or address.

    Raises:
        StoreError: If there is no such store.
        CorruptStoreError: If its attributes are unreadable or were changed.
    """
    return ScoreStore.open(path) if store_kind(path) == "scores" else FeatureStore.open(path)


@dataclass(frozen=True)
class Fault:
    """Rows of a split that cannot be read.

    Attributes:
        split: Name of the split, or of a part with extra arrays.
        rows: The row range [start, stop), one whole chunk.
        error: What is wrong with it.
    """

    split: str
    rows: tuple[int, int]
    error: StoreError


def faults_of(opened: AnyStore) -> Iterator[tuple[str, int, list[Fault]]]:
    """Read every chunk of a store and compare the checksums; goes on after a damaged one.

    Yields:
        Name, rows and faults of each split, in order.
    """
    for name in opened.parts:
        files = opened.files(name)
        found: list[Fault] = []
        with progress(f"verify {name}", files.spec.rows) as advance:
            errors = files.disk.each(partial(_error_of, files), range(len(files.ranges)))
            for rows, error in zip(files.ranges, errors, strict=True):
                if error is not None:
                    found.append(Fault(name, rows, error))
                advance(rows[1] - rows[0])
        yield name, files.spec.rows, found


def _error_of(files: SplitFiles, chunk: int) -> StoreError | None:
    """Read all arrays of one chunk; what is wrong with it, or None."""
    try:
        if files.verify(chunk) is not None:
            return None
    except StoreError as error:
        return error
    start, stop = files.ranges[chunk]
    return IncompleteStoreError(
        f"rows {start} to {stop} of split {files.name} in {files.place} are not "
        "written; run the stage that writes it again, it resumes."
    )


def verify_store(path: Path | str) -> Iterator[tuple[str, int]]:
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
    read_head(opened.disk, opened.attributes.get("head", {}))
    refuse_damaged_documents(opened.disk)
    for name, rows, faults in faults_of(opened):
        if faults:
            raise faults[0].error
        yield name, rows


def store_files(opened: AnyStore) -> list[str]:
    """Files of a store, in alphabetical order; whatever else lies in its folder is left out.

    Args:
        opened: The store.

    Returns:
        Paths from the store's folder on, with forward slashes.

    Raises:
        StoreError: If one is missing, or the store is behind an address.
    """
    if not opened.disk.is_near:
        raise StoreError(
            f"{opened.path} is behind an address; bring it here with `ltood store copy` first."
        )
    root = opened.disk.folder
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
