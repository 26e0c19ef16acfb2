"""Files of a folder that fills: which are new, and which are still being written.

A file is taken once its size and time of change are the same in two looks. A file that changes
later is taken again, and so is one that gets another name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ltood.core.errors import DataError
from ltood.images.folders import list_images
from ltood.runtime.console import log


@dataclass(frozen=True, order=True)
class Arrival:
    """A file as it was seen.

    Attributes:
        changed: Time of its last change, in nanoseconds.
        path: Path below the folder, with forward slashes.
        size: Its bytes.
    """

    changed: int
    path: str
    size: int


class Arrivals:
    """Looks into a folder again and again; remembers what is there, not what was."""

    def __init__(self, folder: Path, seen: Mapping[str, Arrival]) -> None:
        """Watch a folder and those in it.

        Args:
            folder: The folder, searched for image files.
            seen: Files that an earlier run has taken, by path.
        """
        self.folder = folder
        self._taken = dict(seen)
        self._growing: dict[str, Arrival] = {}
        self._is_gone = False

    @property
    def growing(self) -> int:
        """Files that have not yet been the same in two looks."""
        return len(self._growing)

    def look(self) -> list[Arrival]:
        """Files that are new and whole, the one that was changed first in front."""
        found = self._files()
        if found is None:
            return []
        self._taken = {path: one for path, one in self._taken.items() if path in found}
        new = {path: one for path, one in found.items() if self._taken.get(path) != one}
        ready = sorted(one for path, one in new.items() if self._growing.get(path) == one)
        self._taken.update((one.path, one) for one in ready)
        self._growing = {path: one for path, one in new.items() if one not in set(ready)}
        return ready

    def _files(self) -> dict[str, Arrival] | None:
        """Image files by path; None where the folder cannot be read at the moment."""
        try:
            paths = list_images(self.folder, any_name=True).paths
        except DataError as error:
            if not self._is_gone:
                log(f"waiting: {error}")
            self._is_gone = True
            return None
        self._is_gone = False
        found = {}
        for path in paths:
            try:
                state = (self.folder / path).stat()
            except OSError:  # Gone between the two looks.
                continue
            found[path] = Arrival(state.st_mtime_ns, path, state.st_size)
        return found
