"""Lists of image files: one image per line, with its class.

Two forms are read. OpenOOD's (Zhang et al., arXiv:2306.09301) has a path and a class number,
where -1 means outside the ID classes. SC-OOD's (Yang et al., ICCV 2021, arXiv:2108.11941) has a
path and a Python dictionary whose `sc_label` is the ID class that an OOD image shows all the
same, or -1. The dictionary is parsed as a literal; nothing is run. A list with nothing but paths
has no classes. Paths may hold blanks: the class is what stands behind the last one.
"""

import ast
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ltood.core.errors import DataError
from ltood.images.files import SUFFIXES, ImageFiles, OnError

#: A path and a class, or a path and a dictionary.
_LINE = re.compile(r"(?P<path>.*?\S)\s+(?P<label>[+-]?\d+|\{.*\})")
#: A list of lines is small; what is larger is another file.
_MOST_BYTES = 2**30


def read_list(path: Path, root: Path | None = None, *, on_error: OnError = "raise") -> ImageFiles:
    """Image files of a list, in its order.

    Args:
        path: The list.
        root: Folder that its paths start from. Without one the list's own folder is tried, then
            the folders above it and their `images`.
        on_error: What preparing does about files that cannot be decoded.

    Returns:
        The files; their ids count lines from 0.

    Raises:
        DataError: If the list is missing or empty, a line is malformed, points nowhere or comes
            twice.
    """
    lines = read_text(path, f"the list {path}", "correct the path").splitlines()
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"the list {path} is empty; write one image per line.")
    names, labels = [], []
    for number, line in rows:
        name, label = _entry(line, path, number)
        names.append(name)
        labels.append(label)
    root = root or _root(path, names[0])
    check_paths(root, names, f"the list {path}")
    return ImageFiles(
        root, tuple(names), np.array(labels), np.arange(len(names)), on_error=on_error
    )


def check_paths(root: Path, names: Sequence[str], what: str) -> None:
    """Refuse paths that leave the folder, point nowhere, or come twice.

    Args:
        root: Folder that the paths start from.
        names: The paths.
        what: Name of the list in messages.

    Raises:
        DataError: On the first such path.
    """
    seen: set[str] = set()
    for name in names:
        # "./a.jpg" and "a.jpg" are one image.
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
                f"{what} names {name!r}, but there is no file {root / name}; complete the folder, "
                "or name the right one."
            )


def read_text(path: Path, what: str, remedy: str) -> str:
    """Read a text file of UTF-8, without the mark that editors of Windows put in front.

    Args:
        path: A regular file.
        what: Its name in messages.
        remedy: What to do if it cannot be read.

    Raises:
        DataError: If it is missing, not a regular file, too large for a list, or not UTF-8.
    """
    try:
        if not path.is_file():
            # A device or a pipe might never end.
            raise DataError(
                f"{what} cannot be read: {path} is missing or not a regular file; {remedy}."
            )
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{what} has more than {_MOST_BYTES:,} bytes; {remedy}.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{what} cannot be read ({error}); {remedy}.") from error


def parse_table(text: str, what: str, remedy: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Parse comma-separated text whose first line names the columns.

    Args:
        text: The table.
        what: What messages call it.
        remedy: What to do if it cannot be parsed.

    Returns:
        Names of the columns, and by name the fields of each row; None where a row is short.

    Raises:
        DataError: If it is not comma-separated text.
    """
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows: list[dict[str, Any]] = list(reader)
    except csv.Error as error:
        raise DataError(f"{what} is not a CSV file ({error}); {remedy}.") from error
    return list(reader.fieldnames or ()), rows


def _entry(line: str, path: Path, number: int) -> tuple[str, int]:
    """Path and class of one line."""
    found = _LINE.fullmatch(line)
    if found is None:
        if line.lower().endswith(SUFFIXES) or not re.search(r"[\s,]", line):
            return line, -1
        raise DataError(f"line {number} of {path} is {line[:60]!r}; {_advice(line)}")
    name, label = found["path"], found["label"]
    if not label.startswith("{"):
        return name, int(label)
    try:
        return name, int(ast.literal_eval(label)["sc_label"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise DataError(
            f"line {number} of {path} has no whole number sc_label in {label[:60]!r}; write the "
            "path, a blank, and a dictionary such as {'sc_label': -1}."
        ) from error


def _advice(line: str) -> str:
    """Advice on how to correct a line that cannot be parsed."""
    right = "write the path, a blank and the class as a whole number (-1 outside the ID classes)."
    if line.startswith("#"):
        return "lists have no comments. Remove the line."
    if "," in line:
        return f"separate path and class by a blank instead of a comma: {right}"
    return right


def _root(path: Path, first: str) -> Path:
    """The folder from which the first path leads to an image."""
    tried = []
    for folder in (path.parent, *list(path.resolve().parents)[1:4]):
        for root in (folder, folder / "images"):
            if (root / first).is_file():
                return root
            tried.append(str(root))
    raise DataError(
        f"the list {path} begins with {first!r}, which is not below {tried[0]}, {tried[1]} or the "
        f"folders above; name the folder, in settings as {path}@FOLDER."
    )
