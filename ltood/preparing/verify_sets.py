"""Whether a known image set is whole: checksums, counts, and that every image decodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltood.core.errors import DataError
from ltood.datasets import CIFAR10, CIFAR100, open_outliers
from ltood.images.arrays import ImageSplit
from ltood.images.checking import check_files
from ltood.images.files import ImageFiles
from ltood.images.lists import read_text
from ltood.sets.catalogue import SETS, KnownSet, Part
from ltood.sets.downloads import digest


@dataclass(frozen=True)
class Finding:
    """Result of checking one file or part of a set.

    Attributes:
        what: Path below the folder of the set.
        check: "checksum" or "content".
        result: What was found, such as "26,032 images".
        fault: What is wrong with it; "" where nothing is.
    """

    what: str
    check: str
    result: str
    fault: str = ""


def verify(known: KnownSet, folder: Path) -> Iterator[Finding]:
    """Check a known set file by file and part by part.

    Args:
        known: The set.
        folder: Its folder.

    Yields:
        One finding for each file that has a published checksum and for each part.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; {how_to_get(known, folder)}")
    for offer in known.files:
        # An archive is removed once it is unpacked, and what it held is counted below.
        if not offer.unpack and offer.source.checksum:
            yield _checksum(folder, offer.source.file, offer.source.checksum)
    for part in known.parts:
        if part.sha256 and (folder / part.path).is_file():
            yield _checksum(folder, part.path, f"sha256:{part.sha256}", "get it again")
        try:
            yield _content(known, part, folder)
        except DataError as error:
            yield Finding(part.path, "content", "unusable", str(error))


def how_to_get(known: KnownSet, folder: Path) -> str:
    """One sentence on how a set comes to its folder.

    Args:
        known: The set.
        folder: Where it is looked for.
    """
    if known.origin == "by hand":
        layout = " and ".join(known.layout)
        return f"get {known.name} by hand ({known.page}) and lay it out in {folder} as {layout}."
    root = "" if folder.parent == SETS else f" --root {folder.parent}"
    return f"run `ltood data download {known.name}{root}`."


def _checksum(folder: Path, file: str, checksum: str, remedy: str = "download it again") -> Finding:
    path = folder / file
    if not path.is_file():
        return Finding(file, "checksum", "missing", f"there is no {path}; {remedy}.")
    found = digest(path, checksum)
    if found != checksum:
        return Finding(
            file,
            "checksum",
            found,
            f"{path} has the checksum {found}, not {checksum}; remove it and {remedy}.",
        )
    return Finding(file, "checksum", found)


def _content(known: KnownSet, part: Part, folder: Path) -> Finding:
    unit = "images"
    notes: list[str] = []
    faults: list[str] = []
    if part.form == "records":
        files = {"cifar10": CIFAR10, "cifar100": CIFAR100}[known.name]
        num_rows = sum(len(files.read(folder / part.path, split)) for split in ("train", "test"))
    elif part.form == "lines":
        unit, num_rows = "lines", _num_lines(folder / part.path)
    elif part.form == "file":
        unit, num_rows = "files", int((folder / part.path).is_file())
        if not num_rows:
            faults.append(f"there is no {folder / part.path}; {how_to_get(known, folder)}")
    else:
        split = open_outliers({known.name: part.source(folder)}, known.name, None, on_error="skip")
        num_rows = len(split)
        notes, faults = _looked_at(split)
    if part.rows is not None and num_rows != part.rows:
        faults.append(
            f"{part.path} holds {num_rows:,} {unit}; the published set has {part.rows:,}."
        )
    return Finding(
        part.path, "content", ", ".join((f"{num_rows:,} {unit}", *notes)), " ".join(faults)
    )


def _looked_at(split: ImageSplit | ImageFiles) -> tuple[list[str], list[str]]:
    """Notes on the images of a part, and what is wrong with them."""
    notes, faults = [], []
    num_id = int(np.count_nonzero(split.labels >= 0))
    if num_id:
        notes.append(f"{num_id:,} of them show an ID class")
    if isinstance(split, ImageFiles):
        checked = check_files(split)
        skipped = checked.files.skipped
        if skipped:
            faults.append(f"{len(skipped):,} cannot be decoded: {skipped[0]}")
        if checked.num_repeats:
            notes.append(f"{checked.num_repeats:,} repeat another one")
    return notes, faults


def _num_lines(path: Path) -> int:
    lines = read_text(path, f"the list {path}", "put it there").splitlines()
    return sum(bool(line.strip()) for line in lines)
