"""Every image file of a split decoded once, before anything is made from it."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ltood.core.errors import DataError
from ltood.core.words import counted
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import (
    PIXEL_LIMIT,
    Geometry,
    decoded_image,
    decoding_threads,
    is_animated,
)
from ltood.images.files import ImageFiles
from ltood.images.packed import PackedFiles
from ltood.runtime.console import log, progress
from ltood.runtime.file_hashes import FileHashes
from ltood.runtime.provenance import code_digest

if TYPE_CHECKING:
    from PIL.Image import Image

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
        """Log what is unusual about the files; messages call them `name`."""
        skipped = self.files.skipped
        for text in (*self.files.notes, *(f"skipped: {text}" for text in skipped[:_SHOWN])):
            log(f"{name}: {text}")
        if len(skipped) > _SHOWN:
            log(f"{name}: skipped in all: {counted(len(skipped), 'file')}.")
        if self.num_repeats:
            log(f"{name}: {_repeats(self.files)}")
        if self.num_animated:
            files = counted(self.num_animated, "animated file")
            log(f"{name}: the first frame is taken of {files}.")


def _repeats(files: ImageFiles) -> str:
    """How many files have the bytes of an earlier one, with an example, and of another class."""
    assert files.digests is not None
    first: dict[bytes, int] = {}
    pairs = [
        (row, earlier)
        for row, digest in enumerate(files.digests)
        if (earlier := first.setdefault(digest.tobytes(), row)) != row
    ]
    torn = [pair for pair in pairs if files.labels[pair[0]] != files.labels[pair[1]]]
    row, earlier = (torn or pairs)[0]
    text = (
        f"files with the same bytes as another one: {len(pairs):,}, such as {files.paths[row]} = "
        f"{files.paths[earlier]}"
    )
    return (
        f"{text}; in another class: {len(torn):,}, so correct or remove them."
        if torn
        else (f"{text}.")
    )


class UndecodableError(DataError):
    """Files that cannot be decoded, of a split that may not do without."""


class _Outcome(NamedTuple):
    """Result of reading one file.

    Attributes:
        fault: Why it cannot be decoded; "" if it can.
        digest: SHA-256 of its bytes, where it can.
        animated: Whether it has several frames.
    """

    fault: str
    digest: bytes = b""
    animated: bool = False


def check_files(
    files: ImageFiles, *, workers: int | None = None, known: FileHashes | None = None
) -> Checked:
    """Decode every file once; nothing but digests is kept.

    Args:
        files: The files.
        workers: Threads; None takes as many as there are processors, at most 16.
        known: Remembers which contents can be decoded, so that they need not be read again.

    Raises:
        UndecodableError: If a file cannot be decoded and `files.on_error` is "raise".
        DataError: If none can.
    """
    if known is None or isinstance(files, PackedFiles):
        return _judged(files, _read(files, range(len(files)), _nothing, workers))
    limit = os.environ.get(PIXEL_LIMIT)  # Another one may skip other images.
    about = f"decodes by {code_digest('ltood.images.decoding')}, limit {limit or 'unset'}"
    digests = known.digests(files.root, files.paths)
    animated = known.notes(about, digests)
    unknown = [row for row, digest in enumerate(digests) if digest not in animated]
    fresh = _read(files, unknown, _nothing, workers)
    known.remember(about, {each.digest: each.animated for each in fresh if not each.fault})
    outcomes = [_Outcome("", digest, bool(animated.get(digest))) for digest in digests]
    for row, outcome in zip(unknown, fresh, strict=True):
        outcomes[row] = outcome
    return _judged(files, outcomes)


def load(files: ImageFiles, geometry: Geometry, name: str) -> ImageSplit:
    """All images as arrays of one size, for sets that are small enough to stay in memory.

    Args:
        files: The files.
        geometry: How each comes to the size.
        name: Their name in messages, such as the name of the split.

    Raises:
        DataError: As `check_files` raises it.
    """
    pixels = np.empty((len(files), *geometry.size, 3), dtype=np.uint8)

    def keep(image: "Image", row: int) -> None:
        pixels[row] = geometry(image, row)

    outcomes = _read(files, range(len(files)), keep, None)
    checked = _judged(files, outcomes)
    checked.report(name)
    kept = checked.files
    if len(kept) < len(files):
        pixels = pixels[[not each.fault for each in outcomes]]
    return ImageSplit(pixels, kept.labels, kept.ids, kept.skipped, kept.paths)


def _read(
    files: ImageFiles,
    rows: Sequence[int],
    use: Callable[["Image", int], None],
    workers: int | None,
) -> list[_Outcome]:
    """Decode some of the files by threads and hand each image to `use`."""

    def one(row: int) -> _Outcome:
        try:
            content = files.content(row)
        except DataError as error:
            return _Outcome(str(error))
        try:
            with decoded_image(content, str(files.path(row)), files.jpeg_side) as image:
                use(image, row)
        except DataError as error:
            return _Outcome(str(error))
        return _Outcome("", hashlib.sha256(content).digest(), is_animated(content))

    found: list[_Outcome] = []
    with (
        ThreadPoolExecutor(workers or decoding_threads()) as pool,
        progress(f"check {files.root.name}", len(rows), "images") as advance,
    ):
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            found += pool.map(one, block)
            advance(len(block))
    return found


def _nothing(_image: "Image", _row: int) -> None:
    """Keep nothing of an image that could be decoded."""


def _judged(files: ImageFiles, outcomes: Sequence[_Outcome]) -> Checked:
    """Files with their digests, those that cannot be decoded refused or skipped."""
    faults = tuple(each.fault for each in outcomes if each.fault)
    if faults and files.on_error == "raise":
        more = f" {len(faults) - 1} more are like it." if len(faults) > 1 else ""
        raise UndecodableError(f"{faults[0]}{more}")
    good = [each for each in outcomes if not each.fault]
    if not good:
        raise DataError(
            f"none of the {len(files)} files under {files.root} can be decoded; the first: "
            f"{faults[0]}"
        )
    kept = files.take(np.flatnonzero([not each.fault for each in outcomes]))
    digests = [each.digest for each in good]
    columns = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    # Where the folder lies must not show in what was prepared.
    skipped = tuple(text.removeprefix(f"{files.root}/") for text in faults)
    return Checked(
        replace(kept, digests=columns, skipped=skipped),
        num_repeats=len(digests) - len(set(digests)),
        num_animated=sum(each.animated for each in good),
    )
