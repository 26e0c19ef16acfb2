"""Lists of picture files: one picture a line, with its class.

Two forms are read. OpenOOD's (Zhang et al., arXiv:2306.09301) has a path and a class number,
where -1 means outside the ID classes. SC-OOD's (Yang et al., ICCV 2021, arXiv:2108.11941) has a
path and a Python dictionary whose `sc_label` is the ID class that an OOD picture shows all the
same, or -1. The dictionary is parsed as a literal; nothing is run. A list with nothing but paths
has no classes.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ltood.core.errors import DataError
from ltood.images.files import SUFFIXES, ImageFiles, OnError

#: Separates a list from the folder that its paths start from.
ROOT_MARK = "@"


def read_list(where: str, *, on_error: OnError = "raise") -> ImageFiles:
    """Pictures of a list, in its order.

    Args:
        where: The list's path, and after "@" the folder that its paths start from. Without one
            the list's own folder is tried, then the folders above it and their `images`.
        on_error: What preparing does about unreadable pictures.

    Returns:
        The pictures; their ids count lines from 0.

    Raises:
        DataError: If the list is missing or empty, a line is malformed, points nowhere or comes
            twice.
    """
    text, _, given = where.partition(ROOT_MARK)
    path = Path(text)
    try:
        # Editors of Windows put a byte order mark in front, which is no part of the first path.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {path} cannot be read ({error}); correct the path.") from error
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"the list {path} is empty; write one picture a line.")
    names, labels = [], []
    for number, line in rows:
        name, label = _entry(line, path, number)
        names.append(name)
        labels.append(label)
    root = Path(given) if given else _root(path, names[0])
    check_paths(root, names, f"the list {path}")
    return ImageFiles(
        root, tuple(names), np.array(labels), np.arange(len(names)), on_error=on_error
    )


def check_paths(root: Path, names: Sequence[str], what: str) -> None:
    """Refuse paths that leave the folder, point nowhere, or come twice.

    Args:
        root: Folder that the paths start from.
        names: The paths.
        what: What messages call the list.

    Raises:
        DataError: On the first such path.
    """
    seen: set[str] = set()
    for name in names:
        # "./a.jpg" and "a.jpg" are one picture.
        plain = PurePosixPath(name).as_posix()
        if plain in seen:
            raise DataError(f"{what} names {name!r} twice; leave the repeat out.")
        seen.add(plain)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(
                f"{what} names {name!r}, which leads out of {root}; write paths below the folder."
            )
        if not (root / name).is_file():
            raise DataError(
                f"{what} names {name!r}, but there is no {root / name}; complete the folder, or "
                f"name the right one after {ROOT_MARK}."
            )


def images_below(root: Path) -> tuple[str, ...]:
    """All pictures of a folder and its folders, sorted by path, with forward slashes.

    Raises:
        DataError: If there is no such folder or no picture in it.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; put the pictures there or correct the path.")
    found = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    if not found:
        raise DataError(
            f"{root} holds no pictures ({', '.join(SUFFIXES[:4])} and others are read); put them "
            "there or correct the path."
        )
    return tuple(found)


def _walk(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _entry(line: str, path: Path, number: int) -> tuple[str, int]:
    """Path and class of one line."""
    name, *following = line.split(maxsplit=1)
    if not following:
        return name, -1
    rest = following[0]
    if rest.startswith("{"):
        try:
            label = ast.literal_eval(rest)["sc_label"]
        except (ValueError, SyntaxError, KeyError, TypeError) as error:
            raise DataError(
                f"line {number} of {path} has no sc_label in {rest[:60]!r}; write the path, a "
                "blank, and a dictionary such as {'sc_label': -1}."
            ) from error
    else:
        label = rest
    try:
        return name, int(label)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"line {number} of {path} has the class {str(label)[:40]!r}; write the path, a blank "
            "and a whole number (-1 outside the ID classes)."
        ) from error


def _root(path: Path, first: str) -> Path:
    """The folder from which the first path leads to a picture."""
    tried = []
    for folder in (path.parent, *list(path.resolve().parents)[1:4]):
        for root in (folder, folder / "images"):
            if (root / first).is_file():
                return root
            tried.append(str(root))
    raise DataError(
        f"the list {path} begins with {first!r}, which is not below {tried[0]}, {tried[1]} or the "
        f"folders above; name the folder as {path}{ROOT_MARK}FOLDER."
    )
