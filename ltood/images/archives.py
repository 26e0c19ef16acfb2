"""Images in `.npz` archives.

An archive holds `images`, uint8 [N, H, W] or [N, H, W, C], and may hold `ids`, the row numbers
in the source. ID splits also hold `labels`. Archives of outliers often carry labels of their
own, such as the digits of SVHN, which mean nothing among the ID classes and would pass for
them; so outliers take their labels from `id_labels` alone (-1 outside the ID classes, as
benchmarks that mark ID objects in OOD sets need it). NumPy only; nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import ImageSplit, with_channels
from ltood.runtime.numpy_files import UNREADABLE


def read_archive(path: Path, *, outliers: bool) -> ImageSplit:
    """Read one split.

    Args:
        path: The archive.
        outliers: Whether the images lie outside the ID classes (aux and OOD splits).

    Returns:
        Its images, [N, H, W, C], with labels and ids; the ids count rows if there are none.

    Raises:
        DataError: If the archive is missing, unreadable or breaks a rule.
    """
    arrays = _arrays(path, ("images", "id_labels" if outliers else "labels", "ids"))
    images, labels, ids = arrays
    if images is None:
        raise DataError(f"{path} holds no array 'images'; save them under this name.")
    if labels is None and not outliers:
        raise DataError(f"{path} holds no array 'labels'; ID splits need the class of each image.")
    num_rows = len(images) if images.ndim else 0
    try:
        return ImageSplit(
            with_channels(images),
            np.full(num_rows, -1) if labels is None else _whole(labels, "labels"),
            np.arange(num_rows) if ids is None else _whole(ids, "ids"),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any] | None]:
    """The named arrays of an archive, None for those it lacks."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive.get(name) for name in names]
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; put it there or correct the path.") from error
    # Bytes of a single .npy array open as an array, which is not a context manager.
    except UNREADABLE as error:
        # NumPy's second sentence advises to load objects unsafely.
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise DataError(
            f"{path} cannot be read as an .npz archive of plain arrays ({reason}); save it again "
            "with numpy.savez_compressed."
        ) from error


def _whole(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu" or not np.can_cast(values.dtype, np.int64):
        raise DataError(
            f"{name} are {values.dtype}; they must be whole numbers that fit int64. Save them "
            "as int64."
        )
    return values.astype(np.int64)
