"""Places that hold what is shared: a folder here, and what every other place has to do."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ltood.core.errors import TransferError
from ltood.runtime.files import is_temporary, writing
from ltood.sharing.archive import BLOCK
from ltood.sharing.manifest import MANIFEST, PARTS


class Place(Protocol):
    """A folder somewhere, whose files have names with forward slashes.

    Every method raises a `TransferError` where the place refuses or cannot be reached.
    """

    #: The place as messages name it.
    address: str
    #: Whether reading a file costs no more than comparing its size.
    is_near: bool

    def sizes(self) -> dict[str, int]:
        """Bytes of the list and of every part that is there, by name; empty where nothing is."""

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to `target`, replacing what is there."""

    def send(self, name: str, source: Path) -> None:
        """Bring a part; whether others see it before `publish` is left to the place."""

    def publish(self, files: Mapping[str, bytes], stale: Sequence[str]) -> None:
        """Write small files in the order given, after all parts, and then remove stale parts."""


class Folder:
    """A folder on a disk of this machine, or mounted."""

    is_near = True

    def __init__(self, path: Path) -> None:
        """Take the folder, which need not exist.

        Raises:
            TransferError: If it is a file.
        """
        if path.exists() and not path.is_dir():
            raise TransferError(f"{path} is a file; give a folder to hold what is pushed.")
        self.address, self._path = str(path), path

    def sizes(self) -> dict[str, int]:
        """Bytes of the list and of every part by name; nothing else in the folder is looked at."""
        found = [self._path / MANIFEST, *(self._path / PARTS).glob("*")]
        return {
            file.relative_to(self._path).as_posix(): file.stat().st_size
            for file in found
            if file.is_file() and not is_temporary(file.name)
        }

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file."""
        try:
            with (self._path / name).open("rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, BLOCK)
        except OSError as error:
            where = error.filename or target
            raise TransferError(
                f"cannot copy {name} from {self.address} ({where}: {error.strerror or error}); "
                "check permissions and free space, then run the same command again."
            ) from error

    def send(self, name: str, source: Path) -> None:
        """Copy a part to the folder, in one rename."""
        with source.open("rb") as part, writing(self._path / name) as file:
            shutil.copyfileobj(part, file, BLOCK)

    def publish(self, files: Mapping[str, bytes], stale: Sequence[str]) -> None:
        """Write small files one by one, each in one rename."""
        for name, content in files.items():
            with writing(self._path / name) as file:
                file.write(content)
        for name in stale:
            (self._path / name).unlink(missing_ok=True)
