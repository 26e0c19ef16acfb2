"""Image files of a folder and the folders in it.

Links to folders are followed, as torchvision and timm do; one that leads back to a folder above
it is not. Hidden folders and those that network drives and archives add are skipped. What a walk
skipped is counted and can be reported.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ltood.core.errors import DataError, quoted
from ltood.core.words import counted
from ltood.images.files import SUFFIXES

#: Folders of thumbnails and resource forks, which no user has put there.
_ADDED = frozenset({"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN"})
#: Endings that are named one by one.
_SHOWN = 5


@dataclass
class Listing:
    """Image files below a folder, and what else was met there.

    Attributes:
        paths: Their paths from the folder on, with forward slashes, sorted.
        endings: Number of other files by their ending, in lower case.
        dangling: Links that lead nowhere.
        loops: Links that lead back to a folder above them.
    """

    paths: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    dangling: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)

    def add(self, other: "Listing", below: str) -> None:
        """Take over what was met in the folder `below` of this one."""
        self.endings.update(other.endings)
        for name in ("paths", "dangling", "loops"):
            getattr(self, name).extend(f"{below}/{path}" for path in getattr(other, name))

    def notes(self) -> tuple[str, ...]:
        """Skipped files and folders, one sentence each."""
        notes = []
        if self.endings:
            shown = ", ".join(
                f"{ending or 'none'} {num:,}" for ending, num in self.endings.most_common(_SHOWN)
            )
            more = " and others" if len(self.endings) > _SHOWN else ""
            num = self.endings.total()
            were = "was" if num == 1 else "were"
            notes.append(
                f"{counted(num, 'file')} with endings other than those of images {were} skipped "
                f"({shown}{more})."
            )
        for links, what in (
            (self.dangling, "leading nowhere"),
            (self.loops, "leading back to a folder above"),
        ):
            if links:
                found = counted(len(links), "link")
                notes.append(f"{found} {what} not followed, such as {links[0]}.")
        return tuple(notes)


def list_images(root: Path, *, any_name: bool = False) -> Listing:
    """List the image files of a folder and of the folders in it.

    Args:
        root: The folder.
        any_name: Take names with a line break or bytes that are not UTF-8, too, where no list of
            one path a line is made of them.

    Returns:
        The files, none if there is no image.

    Raises:
        DataError: If there is no such folder, or one below it cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; put the images there or correct the path.")
    found = Listing()
    try:
        _walk(str(root), "", frozenset({_identity(str(root))}), found)
    except OSError as error:
        raise DataError(
            f"cannot list {error.filename} ({error.strerror}); fix its permissions or correct the "
            "path."
        ) from error
    found.paths.sort()
    if not any_name:
        _check_names(root, found.paths)
    found.dangling.sort()
    found.loops.sort()
    return found


def images_below(root: Path, *, any_name: bool = False) -> Listing:
    """List the image files of a folder, at least one; see `list_images`.

    Raises:
        DataError: If there is no such folder or no image in it.
    """
    found = list_images(root, any_name=any_name)
    if not found.paths:
        notes = "".join(f" {note}" for note in found.notes())
        raise DataError(
            f"{root} holds no images ({', '.join(SUFFIXES[:4])} and others are read); put them "
            f"there or correct the path.{notes}"
        )
    return found


def folders_of(root: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, sorted; hidden and added ones are skipped.

    Raises:
        DataError: If a name cannot be written down.
    """
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.name[0] != "." and path.name not in _ADDED and path.is_dir()
    )
    _check_names(root, names)
    return tuple(names)


def _check_names(root: Path, names: list[str]) -> None:
    """Refuse names that a list of one path a line cannot hold."""
    for name in names:
        what = "a line break in its name" if "\n" in name else ""
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                what = "a name that is not UTF-8"
        if what:
            raise DataError(f"{root} holds {quoted(name)}, which has {what}; rename it.")


def _walk(folder: str, below: str, above: frozenset[tuple[int, int]], found: Listing) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            path = f"{below}{name}"
            if entry.is_dir():
                if name in _ADDED:
                    continue
                identity = _identity(entry.path)
                if identity in above:
                    found.loops.append(path)
                else:
                    _walk(entry.path, f"{path}/", above | {identity}, found)
            elif entry.is_file():
                if name.lower().endswith(SUFFIXES):
                    found.paths.append(path)
                else:
                    found.endings[os.path.splitext(name)[1].lower()] += 1  # noqa: PTH122
            elif entry.is_symlink():
                found.dangling.append(path)


def _identity(folder: str) -> tuple[int, int]:
    state = os.stat(folder)  # noqa: PTH116 - text of a walk
    return state.st_dev, state.st_ino
