"""From the bytes of a body to pixels or rows of features, with nothing trusted on the way."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, LtoodError, quoted
from ltood.deployment.images import Embedder
from ltood.serving.refusals import RefusalError

#: Formats that are read where Pillow knows them. Others, such as PostScript, start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_KEYS = ("features", "local", "ids")


@dataclass(frozen=True)
class FeatureRows:
    """Rows of features from a JSON body.

    Attributes:
        features: [N, D], N at least 1.
        local: [N, P, D], or None.
        ids: Numbers of the rows, [N] int64.
    """

    features: NDArray[Any]
    local: NDArray[Any] | None
    ids: NDArray[np.int64]


def count_pixels(content: bytes, name: str, most: int) -> int:
    """Pixels of an image file by its first bytes; nothing is decoded.

    Args:
        content: The file.
        name: What messages call it.
        most: Most pixels that are allowed.

    Raises:
        DataError: If it is not an image of a known format, or has more pixels.
    """
    from PIL import Image

    if not content:
        raise DataError(f"{name} is empty; send the bytes of an image file.")
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=known) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        width, height = most + 1, 1
    except Exception as error:  # Damaged files make Pillow fail in any way.
        raise DataError(
            f"{name} is not an image that can be read; send one of {', '.join(known)}."
        ) from error
    if width * height > most:
        raise DataError(
            f"{name} has more than the {most:,} pixels that are allowed here; make it smaller."
        )
    return max(width * height, 1)


def decode(embedder: Embedder, content: bytes, name: str) -> NDArray[np.uint8]:
    """Pixels of an image file as the network is fed them, [H, W, C] uint8.

    Raises:
        DataError: If it cannot be decoded.
    """
    try:
        return embedder.decode(content, name)
    except LtoodError:
        raise
    except Exception as error:
        raise DataError(
            f"{name} cannot be decoded as an image ({type(error).__name__}); replace it."
        ) from error


def read_features(body: bytes, most: int) -> FeatureRows:
    """Rows of a JSON body: `features` [N, D] or [D], optionally `local` [N, P, D] and `ids` [N].

    Args:
        body: UTF-8.
        most: Most rows that are allowed.

    Raises:
        RefusalError: If it is not JSON (400), or has too many rows (413).
        DataError: If it is another object, or an array is not one of numbers.
    """
    found = _parsed(body)
    if not isinstance(found, dict):
        raise DataError(f'the JSON body is a {_kind(found)}; send {{"features": [[...], ...]}}.')
    if unknown := [key for key in found if key not in _KEYS]:
        raise DataError(
            f"the JSON body has no key {quoted(unknown[0])}; it takes features, local and ids."
        )
    features = _numbers(found, "features")
    if features is None or features.size == 0:
        raise DataError("the JSON body holds no features; send at least one row of numbers.")
    local = _numbers(found, "local")
    if features.ndim == 1:
        features, local = features[None], None if local is None else local[None]
    if len(features) > most:
        raise RefusalError(
            413, f"there are {len(features):,} rows and {most:,} are allowed; send fewer at once."
        )
    ids = _numbers(found, "ids")
    if ids is None:
        ids = np.arange(len(features))
    if ids.shape != (len(features),) or ids.dtype.kind != "i":
        raise DataError(
            f"ids have shape {list(ids.shape)} for {len(features)} rows, or are not whole numbers "
            "of 64 bits; give one for each row."
        )
    return FeatureRows(features, local, ids.astype(np.int64))


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number in JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except RecursionError:
        raise RefusalError(
            400, "the JSON body is nested too deeply; send rows of numbers."
        ) from None
    except ValueError as error:
        raise RefusalError(400, f"the body is not JSON ({error}); send numbers only.") from None


def _numbers(found: Mapping[str, Any], key: str) -> NDArray[Any] | None:
    """An array of the body; None where it is absent or null."""
    given = found.get(key)
    if given is None:
        return None
    try:
        array = np.array(given)
    except ValueError:  # Rows of unequal length.
        array = None
    if (
        not isinstance(given, list)
        or array is None
        or (array.size and array.dtype.kind not in "iuf")
    ):
        raise DataError(
            f"{key} are not numbers in rows of equal length; send nested lists of numbers."
        )
    return array


def _kind(found: object) -> str:
    return {list: "list", str: "text", bool: "truth value", type(None): "null"}.get(
        type(found), "number"
    )
