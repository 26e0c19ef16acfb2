"""Where the files of a store are: in a folder of this machine, or behind an address.

The rest of the room names files by paths below a folder, and asks a disk for them. Behind an
address the folder is that of the copies which `cached` keeps here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.drivers import address_of, path_of
from ltood.runtime.files import (
    JSON_LIMIT,
    Content,
    parse_json,
    read_regular,
    remove_folder,
    write_atomically,
)

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def make_way(path: Path) -> None:
    """Remove what has a name unless it is a plain file, so that a new file can take its place.

    Raises:
        OSError: If it cannot be removed.
    """
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        remove_folder(path)
    elif path.exists() and not path.is_file():
        path.unlink()


class Disk(Protocol):
    """Access to the files below one folder.

    Attributes:
        folder: Folder below which all paths lie.
        is_near: Whether reading a file costs no more than comparing its size.
    """

    folder: Path
    is_near: bool

    def show(self, path: Path) -> str:
        """A path as messages name it."""

    def read(self, path: Path, limit: int | None = None) -> bytes:
        """Content of a file.

        Args:
            path: The file.
            limit: Most bytes that it may have.

        Raises:
            FileNotFoundError: If there is none.
            CorruptStoreError: If it is not a regular file, is too large or unreadable.
            TransferError: If the address refuses or cannot be reached.
        """

    def bring(self, path: Path, size: int) -> Path:
        """A file of this machine with the content of `path`.

        Args:
            path: The file.
            size: Bytes that it should have.

        Raises:
            FileNotFoundError: If there is none, perhaps; a path that is here is not looked at.
            TransferError: If the address refuses or cannot be reached.
        """

    def ahead(self, paths: Sequence[Path], size: int) -> None:
        """Files that will be asked for next; a disk far away begins to bring them."""

    def each(self, work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
        """What `work`, which asks this disk for something, gives for each item, in order."""

    def drop(self, path: Path) -> bool:
        """Forget the copy of a file whose bytes are wrong; whether the file may be another one."""

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Bytes of all files below a folder."""

    def write(self, path: Path, data: Content) -> None:
        """Write a file whole, and its folder if need be.

        Raises:
            StoreError: If it cannot be written.
            TransferError: If the address refuses or cannot be reached.
        """

    def create(self, path: Path, data: Content) -> bool:
        """Write a file if there is none; whether it was written.

        Raises:
            StoreError: If it cannot be written.
            TransferError: If the address refuses or cannot be reached.
        """

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""


class LocalDisk:
    """A folder of this machine: files are read where they are."""

    is_near = True

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not exist."""
        self.folder = folder

    def show(self, path: Path) -> str:
        """The path."""
        return str(path)

    def read(self, path: Path, limit: int | None = None) -> bytes:
        """Content of a regular file."""
        return read_regular(path, limit)

    def bring(self, path: Path, size: int) -> Path:
        """The path itself."""
        del size
        return path

    def ahead(self, paths: Sequence[Path], size: int) -> None:
        """Nothing: the system reads ahead by itself."""

    def each(self, work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
        """One after the other."""
        return map(work, items)

    def drop(self, path: Path) -> bool:
        """Nothing: the file is the only one."""
        del path
        return False

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Bytes of all files below a folder."""
        return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}

    def write(self, path: Path, data: Content) -> None:
        """Write a file in one rename; what a link points to is left alone."""
        make_way(path)
        write_atomically(path, data, sweep=False)

    def create(self, path: Path, data: Content) -> bool:
        """Write a file if there is none, in one call of the system."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    path.unlink()  # Empty, it would look like another's.
                    raise
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror or error}).") from error
        return True

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one, or whatever has its name."""
        make_way(path)
        path.unlink(missing_ok=True)


def disk_at(place: Path | str) -> Disk:
    """The disk of a store.

    Args:
        place: Folder, or an address that fsspec opens, such as "s3://bucket/folder".

    Raises:
        MissingPackageError: If the package that speaks an address is not installed.
        TransferError: If there is no such kind of address.
    """
    address = address_of(place)
    if address is None:
        return LocalDisk(path_of(place))
    from ltood.store.cached import CachedDisk

    return CachedDisk(address)


def read_document(disk: Disk, path: Path, remedy: str, limit: int = JSON_LIMIT) -> Any:  # noqa: ANN401
    """Read a JSON file; see `runtime.files.read_json`.

    Raises:
        FileNotFoundError: If there is none.
        CorruptStoreError: If it is not a regular file, too large, or does not hold JSON.
        TransferError: If an address refuses or cannot be reached.
    """
    try:
        content = disk.read(path, limit)
    except CorruptStoreError as error:
        raise CorruptStoreError(f"{error} {remedy[0].upper()}{remedy[1:]}.") from error
    return parse_json(content, disk.show(path), remedy)
