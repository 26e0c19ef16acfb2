"""From image files to pixels.

`Geometry` says how an image becomes an array of a fixed size; `decode` reads many images at
once, in order, by a few threads (Pillow decodes without holding Python's lock).

An image becomes RGB as in torchvision's image folders: grey values in all three channels, the
palette looked up, transparency dropped, CMYK and 16 bits brought to 8 bits a channel, of animated
images the first frame. The orientation tag of cameras is not applied, as there.
"""

import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles
from ltood.runtime.console import log, progress

if TYPE_CHECKING:
    from PIL.Image import Image


#: Turns one picture of a split (and its row number) into pixels, [H, W, 3] uint8.
Transform = Callable[["Image", int], NDArray[np.uint8]]
Interpolation = Literal["bilinear", "bicubic"]
#: Pictures that are decoded before progress is told.
_BLOCK = 512
#: Files left out that are told one by one.
_SHOWN = 5
_PILLOW = r"PIL\."
_FILTERS = Lock()


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes an array of a fixed size.

    Attributes:
        size: Height and width of the result in pixels.
        mode: "squash" brings the whole picture to the size; "centre_crop" scales its shorter
            side to `resize` and cuts the size out of the middle.
        resize: Shorter side before a centre crop; null takes the larger of the size's sides.
        interpolation: Between pixels; both smooth before they shrink (antialias).
    """

    size: tuple[int, int]
    mode: Literal["squash", "centre_crop"] = "squash"
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.size) < 1:
            raise ConfigError(f"the image size is {list(self.size)}; both sides must be >= 1.")
        if self.resize is not None and self.resize < max(self.size):
            raise ConfigError(
                f"the shorter side is scaled to {self.resize}, less than the crop of "
                f"{list(self.size)}; raise it to {max(self.size)} or more."
            )

    def __call__(self, picture: "Image", row: int) -> NDArray[np.uint8]:
        """Pixels of an RGB picture, [H, W, 3]; the row number does not matter here."""
        height, width = self.size
        if self.mode == "squash":
            return np.asarray(resized(picture, (height, width), self.interpolation))
        shorter = self.resize or max(self.size)
        wide, high = picture.size
        # Truncated, as torchvision's Resize does for the longer side.
        if wide <= high:
            target = (int(shorter * high / wide), shorter)
        else:
            target = (shorter, int(shorter * wide / high))
        picture = resized(picture, target, self.interpolation)
        top = round((target[0] - height) / 2.0)
        left = round((target[1] - width) / 2.0)
        return np.asarray(picture.crop((left, top, left + width, top + height)))

    def describe(self) -> dict[str, object]:
        """The same as plain values, for provenance."""
        return {
            "size": list(self.size),
            "mode": self.mode,
            "resize": self.resize,
            "interpolation": self.interpolation,
        }


def resized(picture: "Image", size: tuple[int, int], interpolation: Interpolation) -> "Image":
    """The picture in `size` (height, width), smoothed where it shrinks."""
    from PIL import Image

    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), filters[interpolation])


def decode_image(content: bytes, name: str) -> "Image":
    """Decode one file to RGB.

    Args:
        content: Its bytes.
        name: What messages call it, such as its path.

    Raises:
        DataError: If it is no picture, or a truncated or otherwise damaged one.
    """
    import io

    from PIL import Image

    _quieten()
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            return _rgb(opened)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(repr(content[:0]), "").split())[:120]
        raise DataError(
            f"{name} is no readable picture ({reason or type(error).__name__}); replace or remove "
            "the file, or set on_error to skip."
        ) from error


def _quieten() -> None:
    """Silence Pillow's remarks on odd metadata and transparent palettes; pixels are the same."""
    # No catch_warnings: it changes the filters of all threads, and threads that leave it in
    # another order than they entered would silence the whole process for good.
    with _FILTERS:
        if not any(getattr(row[3], "pattern", None) == _PILLOW for row in warnings.filters):
            warnings.filterwarnings("ignore", module=_PILLOW)


def _rgb(picture: "Image") -> "Image":
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # Pillow would clip 16 bits to 255; the high byte keeps the picture.
        from PIL import Image

        values = np.asarray(picture).astype(np.float64)
        if values.max(initial=0) > 255 or picture.mode.startswith("I;16"):
            values = values / 257
        picture = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    return picture.convert("RGB")


def as_image(pixels: NDArray[np.uint8]) -> "Image":
    """Array [H, W, 1 or 3] as an RGB picture."""
    from PIL import Image

    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels))


def decode(
    split: ImageSplit | ImageFiles,
    rows: Sequence[int] | NDArray[np.int64],
    transform: Transform,
    *,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Pixels of some rows of a split.

    Args:
        split: Images in memory or on disk.
        rows: Row numbers, n at least 1.
        transform: Makes one picture an array; all of one shape.
        workers: Threads; None takes as many as there are processors, at most 16.

    Returns:
        [n, H, W, 3] uint8, in the order of the rows.

    Raises:
        DataError: If a file is missing, changed or no picture.
    """
    blocks = list(_decoded(split, rows, transform, workers))
    return np.stack(blocks)


def _decoded(
    split: ImageSplit | ImageFiles,
    rows: Sequence[int] | NDArray[np.int64],
    transform: Transform,
    workers: int | None,
) -> Iterator[NDArray[np.uint8]]:
    def one(row: int) -> NDArray[np.uint8]:
        if isinstance(split, ImageSplit):
            return transform(as_image(np.asarray(split.images[row])), row)
        return transform(decode_image(split.content(row), str(split.path(row))), row)

    numbers = [int(row) for row in rows]
    threads = workers or decoding_threads()
    if threads == 1 or len(numbers) == 1:
        yield from map(one, numbers)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(one, numbers)


class Checked(NamedTuple):
    """Files that were all decoded once.

    Attributes:
        files: Those that are readable, with their checksums.
        faults: What is wrong with each of the others.
        num_repeats: Files whose bytes another one has too.
        num_animated: Readable files with more than the one frame that is taken.
    """

    files: ImageFiles
    faults: tuple[str, ...]
    num_repeats: int
    num_animated: int

    def report(self, name: str) -> None:
        """Say what is odd about the files, which messages call `name`."""
        for text in self.faults[:_SHOWN]:
            log(f"{name}: left out: {text}")
        if len(self.faults) > _SHOWN:
            log(f"{name}: {len(self.faults):,} files are left out in all.")
        if self.num_repeats:
            log(f"{name}: {self.num_repeats:,} files have the same bytes as another one.")
        if self.num_animated:
            log(f"{name}: {self.num_animated:,} files are animated; their first frame is taken.")


def check_files(files: ImageFiles, *, workers: int | None = None) -> Checked:
    """Read and decode every file once; nothing but checksums is kept.

    Raises:
        DataError: If a file is no readable picture and `files.on_error` is "raise", or if none
            is.
    """
    checksums = np.zeros(len(files), dtype=np.int64)
    animated = np.zeros(len(files), dtype=np.bool_)

    def fault(row: int) -> str:
        try:
            content = files.content(row)
            decode_image(content, str(files.path(row)))
        except DataError as error:
            return str(error)
        checksums[row] = zlib.crc32(content)
        animated[row] = _is_animated(content)
        return ""

    found: list[str] = []
    with (
        ThreadPoolExecutor(workers or decoding_threads()) as pool,
        progress(f"check {files.root.name}", len(files), "pictures") as advance,
    ):
        for start in range(0, len(files), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(files)))
            found += pool.map(fault, rows)
            advance(len(rows))
    faults = tuple(text for text in found if text)
    if faults and files.on_error == "raise":
        more = f" {len(faults) - 1} more are like it." if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")
    kept = np.flatnonzero([not text for text in found])
    if not len(kept):
        raise DataError(
            f"none of the {len(files)} files under {files.root} is a readable picture; the first: "
            f"{faults[0]}"
        )
    known = ImageFiles(
        files.root, files.paths, files.labels, files.ids, checksums, files.on_error
    ).take(kept)
    num_repeats = len(kept) - len(np.unique(checksums[kept]))
    return Checked(known, faults, num_repeats, int(animated.sum()))


def _is_animated(content: bytes) -> bool:
    """Whether a readable picture has several frames."""
    import io

    from PIL import Image

    _quieten()
    with Image.open(io.BytesIO(content)) as opened:
        return bool(getattr(opened, "is_animated", False))


def load(files: ImageFiles, geometry: Geometry) -> ImageSplit:
    """All pictures as arrays of one size, for sets that are small enough to stay in memory.

    Raises:
        DataError: As `check_files` raises it.
    """
    checked = check_files(files)
    checked.report(files.root.name)
    kept = checked.files
    pixels = np.empty((len(kept), *geometry.size, 3), dtype=np.uint8)
    with progress(f"decode {files.root.name}", len(kept), "pictures") as advance:
        for start in range(0, len(kept), _BLOCK):
            stop = min(start + _BLOCK, len(kept))
            pixels[start:stop] = decode(kept, range(start, stop), geometry)
            advance(stop - start)
    return ImageSplit(pixels, kept.labels, kept.ids)


def decoding_threads() -> int:
    """Threads that decode where nobody says how many: one a processor, at most 16."""
    return min(16, os.cpu_count() or 1)
