"""From image files to pixels.

`Geometry` says how an image becomes an array of a fixed size; `decode` reads many images at
once, in order, by a few threads (Pillow decodes without holding Python's lock).

An image becomes RGB as in torchvision's image folders: grey values in all three channels, the
palette looked up, transparency dropped, CMYK and 16 bits brought to 8 bits a channel, of animated
images the first frame. The orientation tag of cameras is not applied, as there.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError, LtoodError
from ltood.images.room import Room
from ltood.runtime.extras import require

if TYPE_CHECKING:
    from PIL.Image import Image


#: Turns one RGB image of a split (and its row number) into pixels, [H, W, 3] uint8.
Transform = Callable[["Image", int], NDArray[np.uint8]]
Interpolation = Literal["bilinear", "bicubic"]
Mode = Literal["squash", "centre_crop"]
#: First bytes of what downloads and copies leave in the place of images.
_NOT_IMAGES = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS; run `git lfs pull`",
}
#: Environment variable for the most pixels of an image. Others are refused or skipped, which is
#: why the pipeline watches it.
PIXEL_LIMIT = "LTOOD_MAX_PIXELS"
_OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")
_PILLOW = r"PIL\."
_FILTERS = Lock()
_ROOM = Room()
#: Memory that Pillow asks for at a time; what is above 32 MiB goes back to the system at once.
_BLOCK_BYTES = 2**26


class Decodable(Protocol):
    """Images that can be had one by one."""

    def image(self, row: int) -> "Image":
        """One image as RGB."""

    def opened(self, row: int) -> AbstractContextManager["Image"]:
        """One image as RGB for a block; threads hold few huge ones at a time."""


@dataclass(frozen=True)
class Geometry:
    """Conversion of an image to an array of a fixed size.

    Attributes:
        size: Height and width of the result in pixels.
        mode: "squash" brings the whole image to the size; "centre_crop" scales its shorter
            side to `resize` and cuts the size out of the middle.
        resize: Shorter side before a centre crop; null takes the larger of the size's sides.
        interpolation: Between pixels; both smooth before they shrink (antialias).
    """

    size: tuple[int, int]
    mode: Mode = "squash"
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

    def __call__(self, image: "Image", row: int) -> NDArray[np.uint8]:
        """Pixels of an RGB image, [H, W, 3]; the row number does not matter here."""
        height, width = self.size
        if self.mode == "squash":
            return np.asarray(resized(image, (height, width), self.interpolation))
        shorter = self.resize or max(self.size)
        wide, high = image.size
        # Truncated, as torchvision's Resize does for the longer side.
        if wide <= high:
            target = (int(shorter * high / wide), shorter)
        else:
            target = (shorter, int(shorter * wide / high))
        image = resized(image, target, self.interpolation)
        top = round((target[0] - height) / 2.0)
        left = round((target[1] - width) / 2.0)
        return np.asarray(image.crop((left, top, left + width, top + height)))

    def describe(self) -> dict[str, object]:
        """The same as plain values, for provenance."""
        return {
            "size": list(self.size),
            "mode": self.mode,
            "resize": self.resize,
            "interpolation": self.interpolation,
        }


def resized(image: "Image", size: tuple[int, int], interpolation: Interpolation) -> "Image":
    """The image in `size` (height, width), smoothed where it shrinks."""
    from PIL import Image

    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), filters[interpolation])


def decode_image(content: bytes, name: str, jpeg_side: int | None = None) -> "Image":
    """Decode one file to RGB.

    Args:
        content: Its bytes.
        name: Its name in messages, such as its path.
        jpeg_side: Pixels that the shorter side of a JPEG keeps at least, which is then decoded at
            1/2, 1/4 or 1/8 of its size; None decodes it whole.

    Raises:
        DataError: If it is not an image, or a truncated or otherwise damaged one.
    """
    with decoded_image(content, name, jpeg_side) as image:
        return image


@contextmanager
def decoded_image(content: bytes, name: str, jpeg_side: int | None = None) -> Iterator["Image"]:
    """One file as RGB for the block; see `decode_image` and `open_image`."""
    with ExitStack() as stack:
        with _naming(content, name):
            image = _rgb(stack.enter_context(_loaded(content, jpeg_side)))
        yield image


@contextmanager
def open_image(content: bytes, name: str) -> Iterator["Image"]:
    """Open one image file for the block, decoded, in its own mode; see `decode_image`.

    Images of more than 178,956,970 pixels are refused, twice what Pillow warns of; the environment
    variable LTOOD_MAX_PIXELS sets another limit, for every command alike. Threads hold about as
    many pixels at a time: a block waits until there is room, and must not open another image.

    Raises:
        MissingPackageError: If Pillow is not installed.
    """
    with _naming(content, name), _loaded(content) as opened:
        yield opened


@contextmanager
def _loaded(content: bytes, jpeg_side: int | None = None) -> Iterator["Image"]:
    """An image with its pixels, as soon as there is room for the size that it states."""
    import io

    require("PIL", "reading images")
    from PIL import Image

    _set_up()
    with Image.open(io.BytesIO(content)) as opened:
        if jpeg_side is not None:
            opened.draft(None, (jpeg_side, jpeg_side))  # Other formats than JPEG ignore it.
        with _ROOM.holding(opened.width * opened.height):
            opened.load()
            yield opened


@contextmanager
def _naming(content: bytes, name: str) -> Iterator[None]:
    """Turn what Pillow raises into an error that names the file."""
    try:
        yield
    except (LtoodError, MemoryError):
        raise
    except Exception as error:  # Damaged files make Pillow fail in any way.
        raise DataError(
            f"{name} cannot be decoded as an image ({_reason(error, content)}); replace or remove "
            "the file."
        ) from error


def is_animated(content: bytes) -> bool:
    """Whether an image file that can be decoded has several frames."""
    import io

    from PIL import Image

    _set_up()
    with Image.open(io.BytesIO(content)) as opened:
        return bool(getattr(opened, "is_animated", False))


def _reason(error: Exception, content: bytes) -> str:
    """Why a file could not be decoded, the same words for the same bytes."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        return "it is empty"
    if isinstance(error, Image.DecompressionBombError):
        text = str(error).partition(",")[0]
        return f"{text}; where memory allows it, {PIXEL_LIMIT} lifts the limit"
    if isinstance(error, UnidentifiedImageError):
        for start, what in _NOT_IMAGES.items():
            if content.lstrip()[: len(start)].lower() == start:
                return f"it holds {what}"
        return "no format that Pillow reads here"
    # Pillow shows the stream that it read from, with an address that differs from run to run.
    text = " ".join(_OBJECT.sub("the file", str(error)).split())
    return text[:120] or type(error).__name__


def _set_up() -> None:
    """Give Pillow the limit of pixels, and silence its remarks on odd metadata and palettes."""
    from PIL import Image

    # Smaller blocks of a huge image would stay with each thread that has decoded one.
    Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]
    limit = os.environ.get(PIXEL_LIMIT)
    if limit:
        if not limit.isdecimal() or not int(limit):
            raise ConfigError(
                f"{PIXEL_LIMIT} is {limit[:40]!r}; set it to a number of pixels, or unset it."
            )
        Image.MAX_IMAGE_PIXELS = (int(limit) + 1) // 2  # Pillow refuses twice that number.
    # No catch_warnings: it changes the filters of all threads, and threads that leave it in
    # another order than they entered would silence the whole process for good.
    with _FILTERS:
        if not any(getattr(row[3], "pattern", None) == _PILLOW for row in warnings.filters):
            warnings.filterwarnings("ignore", module=_PILLOW)


def _rgb(image: "Image") -> "Image":
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow would clip 16 bits to 255; the high byte keeps the image.
        from PIL import Image

        values = np.asarray(image).astype(np.float64)
        if values.max(initial=0) > 255 or image.mode.startswith("I;16"):
            values = values / 257
        image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def as_image(pixels: NDArray[np.uint8]) -> "Image":
    """Array [H, W, 1 or 3] as an RGB image.

    Raises:
        MissingPackageError: If Pillow is not installed.
    """
    require("PIL", "changing images")
    from PIL import Image

    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels))


def decode(
    source: Decodable,
    rows: Sequence[int] | NDArray[np.int64],
    transform: Transform,
    *,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Pixels of some rows of a split.

    Args:
        source: Images in memory or on disk.
        rows: Row numbers, n at least 1.
        transform: Makes one image an array; all of one shape.
        workers: Threads; None takes as many as there are processors, at most 16.

    Returns:
        [n, H, W, 3] uint8, in the order of the rows.

    Raises:
        DataError: If a file is missing, changed or not an image.
    """

    def one(row: int) -> NDArray[np.uint8]:
        with source.opened(row) as image:
            return transform(image, row)

    numbers = [int(row) for row in rows]
    threads = workers or decoding_threads()
    if threads == 1 or len(numbers) == 1:
        return np.stack([one(row) for row in numbers])
    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(one, numbers)))


def decoding_threads() -> int:
    """Default number of decoding threads: one per processor of this process, at most 16."""
    # A container or a scheduler may give a process less than there is; ranks share the rest.
    everywhere = os.cpu_count() or 1
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else everywhere
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, min(16, own // max(1, int(ranks) if ranks.isdigit() else 1)))
