"""File that remembers which picture is in which split: CSV with path, label, split and sha256.

It may be edited: a line that is there is obeyed, whatever rule made it. Lines of pictures that are
gone stay, so that a picture that comes back keeps its split.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, quoted
from ltood.core.words import counted
from ltood.images.decoding import decoding_threads
from ltood.images.files import ImageFiles
from ltood.images.splitting import SPLITS, UNKNOWN, Rule, divide
from ltood.images.tables import table_rows
from ltood.runtime.console import log, progress
from ltood.runtime.files import write_atomically

_COLUMNS = {name: (name,) for name in ("path", "label", "split", "sha256")}
#: Pictures that are read before progress is shown.
_BLOCK = 512


class _Line(NamedTuple):
    """What the file says of a picture."""

    label: str
    split: int
    digest: bytes


def divided(
    files: ImageFiles, class_names: Sequence[str], rule: Rule, where: Path, below: str = ""
) -> NDArray[np.int8]:
    """Split of every picture: that of the file `where`, into which new ones are written.

    Args:
        files: The pictures, with classes.
        class_names: Names of the classes, [C].
        rule: Decides about pictures that the file does not name.
        where: The file; it need not exist.
        below: What stands before each path in the file.

    Returns:
        Numbers into `SPLITS`, [N].

    Raises:
        DataError: If the file is unusable or contradicts the classes, or a picture cannot be read.
        StoreError: If it cannot be written.
    """
    known = _read(where) if where.exists() else {}
    paths = [below + path for path in files.paths]
    lines = [known.get(path) for path in paths]
    for path, line, label in zip(paths, lines, files.labels.tolist(), strict=True):
        if line is not None and line.label != class_names[label]:
            raise DataError(
                f"{where} gives {path!r} the class {line.label!r}, and it is of the class "
                f"{class_names[label]!r}; move the picture, or correct the line or remove it."
            )
    digests = [line.digest if line is not None else b"" for line in lines]
    unread = [row for row, digest in enumerate(digests) if not digest]
    for row, digest in zip(unread, _hashed(files, unread), strict=True):
        digests[row] = digest
    before = np.array([UNKNOWN if line is None else line.split for line in lines], dtype=np.int8)
    remembered = {line.digest: line.split for line in known.values() if line.digest}
    found = divide(files.labels, digests, rule, before, remembered)
    if unread:
        new = (
            _Line(class_names[label], split, digest)
            for label, split, digest in zip(
                files.labels.tolist(), found.tolist(), digests, strict=True
            )
        )
        _write(where, known | dict(zip(paths, new, strict=True)))
        num_new, counts = int((before == UNKNOWN).sum()), np.bincount(found, minlength=len(SPLITS))
        if num_new:
            parts = ", ".join(f"{name} {num:,}" for name, num in zip(SPLITS, counts, strict=True))
            pictures = counted(num_new, "new picture")
            log(f"{where}: {pictures} divided; now {parts}. The file may be edited.")
    return found


def _hashed(files: ImageFiles, rows: Sequence[int]) -> list[bytes]:
    """SHA-256 of the bytes of some pictures."""
    found: list[bytes] = []
    with (
        ThreadPoolExecutor(decoding_threads()) as pool,
        progress("divide pictures", len(rows), "images") as advance,
    ):
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            found += pool.map(lambda row: hashlib.sha256(files.content(row)).digest(), block)
            advance(len(block))
    return found


def _read(where: Path) -> dict[str, _Line]:
    remedy = "correct it, or remove it, and the pictures are divided again"
    numbers = {name: number for number, name in enumerate(SPLITS)}
    labels: dict[str, str] = {}
    found: dict[str, _Line] = {}
    rows = table_rows(where, _COLUMNS, optional=("sha256",), remedy=remedy)
    for number, (path, label, split, sha256) in rows:
        if not path or not label or split not in numbers:
            raise DataError(
                f"line {number} of {where} needs a path, a label and a split of "
                f"{', '.join(SPLITS)}; it has {quoted(path)}, {quoted(label)} and "
                f"{quoted(split)}; {remedy}."
            )
        if path in found:
            raise DataError(f"line {number} of {where} names {path!r} again; {remedy}.")
        try:
            digest = bytes.fromhex(sha256)
        except ValueError:
            digest = b"?"
        if len(digest) not in (0, 32):
            raise DataError(
                f"line {number} of {where} has the sha256 {quoted(sha256)}, which is not one of "
                f"64 hexadecimal digits; leave it empty, and it is computed; {remedy}."
            )
        found[path] = _Line(labels.setdefault(label, label), numbers[split], digest)
    return found


def _write(where: Path, lines: Mapping[str, _Line]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for path in sorted(lines):
        label, split, digest = lines[path]
        writer.writerow((path, label, SPLITS[split], digest.hex()))
    write_atomically(where, text.getvalue().encode())
