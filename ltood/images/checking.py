"""Every image file of a split decoded once, before anything is made from it."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import Geometry, decode, decode_image, decoding_threads, is_animated
from ltood.images.files import ImageFiles
from ltood.runtime.console import log, progress

#: Images that are decoded before progress is shown.
_BLOCK = 512
#: Skipped files that are named one by one.
_SHOWN = 5


class Checked(NamedTuple):
    """Files that were all decoded once.

    Attributes:
        files: Those that are readable, with their digests.
        num_repeats: Files whose bytes another one has too.
        num_animated: Readable files with more than the one frame that is taken.
    """

    files: ImageFiles
    num_repeats: int
    num_animated: int

    def report(self, name: str) -> None:
        """Say what is odd about the files, which messages call `name`."""
        skipped = self.files.skipped
        for text in (*self.files.notes, *(f"skipped: {text}" for text in skipped[:_SHOWN])):
            log(f"{name}: {text}")
        if len(skipped) > _SHOWN:
            log(f"{name}: {len(skipped):,} files are skipped in all.")
        if self.num_repeats:
            log(f"{name}: {self.num_repeats:,} files have the same bytes as another one.")
        if self.num_animated:
            log(f"{name}: {self.num_animated:,} files are animated; their first frame is taken.")


def check_files(files: ImageFiles, *, workers: int | None = None) -> Checked:
    """Read and decode every file once; nothing but digests is kept.

    Raises:
        DataError: If a file cannot be decoded and `files.on_error` is "raise", or if none can.
    """
    digests = np.zeros((len(files), 32), dtype=np.uint8)
    animated = np.zeros(len(files), dtype=np.bool_)

    def fault(row: int) -> str:
        try:
            content = files.content(row)
            decode_image(content, str(files.path(row)))
        except DataError as error:
            return str(error)
        digests[row] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        animated[row] = is_animated(content)
        return ""

    found = _each(fault, files, workers)
    faults = tuple(text for text in found if text)
    if faults and files.on_error == "raise":
        more = f" {len(faults) - 1} more are like it." if len(faults) > 1 else ""
        raise DataError(
            f"{faults[0]}{more} To leave such files out, set the dataset's on_error to skip."
        )
    kept = np.flatnonzero([not text for text in found])
    if not len(kept):
        raise DataError(
            f"none of the {len(files)} files under {files.root} can be decoded; the first: "
            f"{faults[0]}"
        )
    known = replace(files, digests=digests).take(kept)
    num_repeats = len(kept) - len({digest.tobytes() for digest in digests[kept]})
    # Where the folder lies must not show in what was prepared.
    skipped = tuple(text.removeprefix(f"{files.root}/") for text in faults)
    return Checked(replace(known, skipped=skipped), num_repeats, int(animated.sum()))


def load(files: ImageFiles, geometry: Geometry, name: str) -> ImageSplit:
    """All images as arrays of one size, for sets that are small enough to stay in memory.

    Args:
        files: The files.
        geometry: How each comes to the size.
        name: What messages call them, such as the name of the split.

    Raises:
        DataError: As `check_files` raises it.
    """
    checked = check_files(files)
    checked.report(name)
    kept = checked.files
    pixels = np.empty((len(kept), *geometry.size, 3), dtype=np.uint8)
    with progress(f"decode {name}", len(kept), "images") as advance:
        for start in range(0, len(kept), _BLOCK):
            stop = min(start + _BLOCK, len(kept))
            pixels[start:stop] = decode(kept, range(start, stop), geometry)
            advance(stop - start)
    return ImageSplit(pixels, kept.labels, kept.ids, kept.skipped)


def _each(fault: Callable[[int], str], files: ImageFiles, workers: int | None) -> list[str]:
    """What is wrong with each file, "" for nothing, found by threads."""
    found: list[str] = []
    with (
        ThreadPoolExecutor(workers or decoding_threads()) as pool,
        progress(f"check {files.root.name}", len(files), "images") as advance,
    ):
        for start in range(0, len(files), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(files)))
            found += pool.map(fault, rows)
            advance(len(rows))
    return found
