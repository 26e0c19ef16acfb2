"""Copy a store file by file, to or from a folder or whatever fsspec opens, such as S3.

The copy is a store as any other: Zarr reads it there. Chunks go first, then their marker, and the
list of contents last, so that a half copied store is none, and needs no rename. A chunk whose
marker is there already is kept. Every chunk is compared with its checksum on the way. Where an
end is behind an address, some chunks are on the way at a time.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.runtime.console import progress
from ltood.runtime.drivers import Driver, address_of, path_of
from ltood.runtime.files import is_temporary, read_regular, sweep_temporaries, write_atomically
from ltood.runtime.in_flight import REQUESTS, each_of
from ltood.runtime.scratch import scratch_folder
from ltood.store.chunks import SplitFiles, checksum, chunk_path
from ltood.store.claimed import CLAIM, NOTE
from ltood.store.disks import LocalDisk, make_way
from ltood.store.head import GROUP
from ltood.store.listed import listed_documents, says_otherwise
from ltood.store.metadata import DOCUMENT
from ltood.store.verifying import AnyStore, open_store


@dataclass(frozen=True)
class Copied:
    """What a copy did.

    Attributes:
        sent: Chunks that were copied.
        kept: Chunks that were there already.
    """

    sent: int
    kept: int


class Place(Protocol):
    """A folder somewhere, whose files have names with forward slashes."""

    address: str
    #: Whether reading a file costs no more than comparing its size.
    is_near: bool

    def read(self, name: str, limit: int | None = None) -> bytes | None:
        """Content of a file, at most `limit` bytes of it; None if there is none."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; whether it was written."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""


class Here:
    """A folder of this machine."""

    is_near = True

    def __init__(self, path: Path) -> None:
        """Take the folder, which need not exist."""
        self.address, self.path = str(path), path

    def read(self, name: str, limit: int | None = None) -> bytes | None:
        """Content of a regular file; None if there is none."""
        del limit
        try:
            return read_regular(self.path / name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        with suppress(OSError):
            return (self.path / name).stat().st_size
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one rename; what a link points to is left alone."""
        make_way(self.path / name)
        write_atomically(self.path / name, content, sweep=False)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; whether it was written."""
        return LocalDisk(self.path).create(self.path / name, content)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        (self.path / name).unlink(missing_ok=True)


class There(Driver):
    """A folder behind an address that fsspec opens."""

    is_near = False


def copy_store(source: str, target: str, *, check: bool = False) -> Copied:
    """Copy a finished store; the same call continues an interrupted copy and mends a damaged one.

    Args:
        source: Folder or address of a feature store or score store.
        target: Folder or address to write.
        check: Read back chunks that a remote address holds, instead of trusting its marker and
            their sizes. Those of a folder are always read.

    Returns:
        Number of chunks.

    Raises:
        StoreError: If there is no such store, or another one at `target`.
        IncompleteStoreError: If it is not finished.
        CorruptStoreError: If bytes of it are missing or changed.
        TransferError: If an address refuses or cannot be reached.
    """
    origin, aim = _place(source), _place(target)
    if origin.address == aim.address:
        raise StoreError(f"{source} and {target} are one place; give another one to copy to.")
    root = origin.read(DOCUMENT)
    if root is None:
        raise StoreError(f"{source} is not a store: it has no {DOCUMENT}.")
    found = aim.read(DOCUMENT)
    if found not in (None, root):
        raise StoreError(f"{target} holds another store; remove it or copy to another place.")
    note = checksum(root).encode()
    begun = aim.read(NOTE)
    if begun not in (None, note):
        raise _begun(target)
    if aim.read(CLAIM) is not None:
        raise StoreError(
            f"{target} is being written by an extraction, or by one that was killed; let it end, "
            "remove it or give a free name."
        )
    if isinstance(aim, Here):
        if found is None and begun is None and _holds_strangers(aim.path):
            raise StoreError(f"{target} holds other files; give a free name.")
        sweep_temporaries(aim.path, below=True)
    with scratch_folder() as lists:
        (lists / DOCUMENT).write_bytes(root)
        opened = open_store(lists)
        if not opened.attributes.get("complete"):
            raise IncompleteStoreError(
                f"{source} is not finished; run the command that writes it again, it resumes."
            )
        if found is None and not aim.create(NOTE, note) and aim.read(NOTE) != note:
            raise _begun(target)
        copied = [
            _copy_split(origin, aim, lists, opened.files(name), check) for name in opened.parts
        ]
        _copy_rest(origin, aim, opened)
    if found is None:
        aim.write(DOCUMENT, root)
    if found is None or begun is not None:
        aim.remove(NOTE)
    return Copied(sum(each.sent for each in copied), sum(each.kept for each in copied))


def _begun(target: str) -> StoreError:
    return StoreError(
        f"{target} holds part of the copy of another store; remove it or give a free name."
    )


def _place(address: str) -> Place:
    return There(address) if address_of(address) else Here(path_of(address).absolute())


def _holds_strangers(path: Path) -> bool:
    """Whether there is something other than a folder of what killed writers left."""
    if not path.exists():
        return False
    return not path.is_dir() or not all(is_temporary(each.name) for each in path.iterdir())


def _copy_split(
    origin: Place,
    aim: Place,
    lists: Path,
    files: SplitFiles,
    check: bool,
) -> Copied:
    """Copy all chunks of a split, each before its marker."""

    def copy(chunk: int) -> bool:
        return _copy_chunk(origin, aim, lists, files, chunk, read=check or aim.is_near)

    workers = 1 if origin.is_near and aim.is_near else REQUESTS
    sent = 0
    with progress(f"copy {files.name}", files.spec.rows) as advance:
        chunks = range(len(files.ranges))
        for (start, stop), new in zip(files.ranges, each_of(copy, chunks, workers), strict=True):
            sent += new
            advance(stop - start)
    return Copied(sent, len(chunks) - sent)


def _copy_chunk(
    origin: Place, aim: Place, lists: Path, files: SplitFiles, chunk: int, *, read: bool
) -> bool:
    """Copy the arrays of one chunk and then its marker; False where they are there already."""
    marker = files.marker_path(chunk).relative_to(lists).as_posix()
    sums = _sums(origin, files, chunk, marker)
    names = {
        files.chunk_path(array, chunk).relative_to(lists).as_posix(): (
            crc,
            files.chunk_rows * files.spec.arrays[array].row_bytes,
        )
        for array, crc in sums.items()
    }
    content = files.marker_path(chunk).read_bytes()
    if aim.read(marker) == content and all(
        _is_there(aim, name, *wanted, read=read) for name, wanted in names.items()
    ):
        return False
    for name, (crc, size) in names.items():
        aim.write(name, _sound(origin, name, crc, size))
    aim.write(marker, content)
    return True


def _sums(origin: Place, files: SplitFiles, chunk: int, marker: str) -> dict[str, str]:
    """Checksums of the arrays of a chunk, from its marker, which is kept in the folder of lists."""
    content = origin.read(marker)
    if content is None:
        raise IncompleteStoreError(f"{origin.address} has no {marker}; write the store again.")
    write_atomically(files.marker_path(chunk), content, sweep=False)
    try:
        found = files.read_marker(chunk)
    except CorruptStoreError as error:
        raise CorruptStoreError(
            f"{marker} of {origin.address} is damaged or belongs to another store; repair it first."
        ) from error
    assert found is not None  # It was written just now.
    return found


def _sound(origin: Place, name: str, crc: str, size: int) -> bytes:
    content = origin.read(name)
    if content is None or len(content) != size or checksum(content) != crc:
        raise CorruptStoreError(
            f"{name} of {origin.address} is missing or its bytes changed; repair the store "
            "(`ltood store repair`) or write it again."
        )
    return content


def _is_there(aim: Place, name: str, crc: str, size: int, *, read: bool) -> bool:
    if aim.size(name) != size:
        return False
    return not read or checksum(aim.read(name) or b"") == crc


def _copy_rest(origin: Place, aim: Place, opened: AnyStore) -> None:
    """Copy the head, and the documents of groups and arrays."""
    head = opened.attributes.get("head", {})
    for array, entry in head.items():
        name = chunk_path(Path(GROUP), array, 0, len(entry["shape"])).as_posix()
        content = origin.read(name)
        if content is None or checksum(content) != entry["crc32c"]:
            raise CorruptStoreError(f"{name} of {origin.address} is missing or changed.")
        aim.write(name, content)
    for name, listed in listed_documents(opened.disk).items():
        content = origin.read(name)
        aim.write(name, listed if content is None or says_otherwise(content, listed) else content)
