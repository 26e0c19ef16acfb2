"""Image sets that are made instead of downloaded: noise, and a cut of SVHN.

Sources: Liang, Li and Srikant, "Enhancing the Reliability of Out-of-Distribution Image Detection
in Neural Networks", ICLR 2018 (arXiv:1706.02690), section 4.1, for the noise: each pixel value
from a Gaussian of mean 0.5 and deviation 1, clipped to [0, 1], or uniform in [0, 1]. Sun and Li,
"DICE: Leveraging Sparsification for Out-of-Distribution Detection", ECCV 2022 (arXiv:2111.09805),
for SVHN: the first 1,000 test images of each digit, in file order. Every call gives the same
bytes.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.published import read_svhn, read_svhn_digits
from ltood.runtime.files import writing

_NUM_NOISE = 10_000
_SHAPE = (32, 32, 3)
#: Any fixed number: it only makes two machines agree.
_SEED = 20_170_608
_PER_DIGIT = 1_000
#: ZIP cannot store an earlier moment; a fixed one keeps the bytes equal.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def make(rule: str, folder: Path) -> Path:
    """Make the archive `<rule>.npz` in a folder, unless it is there.

    Args:
        rule: "gaussian", "uniform" or "svhn_10k".
        folder: Folder of the set; made if missing. The folder `svhn` next to it is read for
            "svhn_10k".

    Returns:
        Path of the archive with `images`, [10000, 32, 32, 3] uint8.

    Raises:
        DataError: If SVHN is missing or another file.
        StoreError: If the archive cannot be written.
    """
    out = folder / f"{rule}.npz"
    if out.exists():
        return out
    images = _RULES[rule](folder)
    with writing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("images.npy", _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as member:
            np.lib.format.write_array(member, images, allow_pickle=False)
    return out


def first_of_each(labels: NDArray[np.int64], num_each: int) -> NDArray[np.int64]:
    """Rows of the first images of each label, in file order.

    Args:
        labels: Labels, [N].
        num_each: Rows that each label keeps, at least 1.

    Returns:
        Row numbers, rising.

    Raises:
        DataError: If a label has fewer rows.
    """
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < num_each:
            raise DataError(
                f"label {label} has {len(rows)} images, {num_each} are needed; take the full file."
            )
        kept.append(rows[:num_each])
    return np.sort(np.concatenate(kept))


def _gaussian(_: Path) -> NDArray[np.uint8]:
    values = _generator().normal(0.5, 1.0, (_NUM_NOISE, *_SHAPE))
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def _uniform(_: Path) -> NDArray[np.uint8]:
    return _generator().integers(0, 256, (_NUM_NOISE, *_SHAPE), np.uint8)


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(_SEED))


def _svhn_10k(folder: Path) -> NDArray[np.uint8]:
    path = folder.parent / "svhn" / "test_32x32.mat"
    if not path.is_file():
        raise DataError(
            f"there is no {path}; run `ltood data download svhn` with the same root first."
        )
    return read_svhn(path)[first_of_each(read_svhn_digits(path), _PER_DIGIT)]


_RULES: dict[str, Callable[[Path], NDArray[np.uint8]]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "svhn_10k": _svhn_10k,
}
