"""Arrays of images in the forms in which small sets are published.

    images.npy                 uint8 [N, H, W, C], such as the 300K random images of TinyImages
    test_32x32.mat             SVHN's cropped digits
    t10k-images-idx3-ubyte     MNIST and its like, packed (.gz) or not

NumPy only, and SciPy for SVHN.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.images.arrays import with_channels
from ltood.runtime.numpy_files import UNREADABLE

_IDX_IMAGES = 0x00000803


def read_npy(path: Path) -> NDArray[np.uint8]:
    """Images of an .npy file, mapped into memory, [N, H, W, C].

    Raises:
        DataError: If it is not an array of images.
    """
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:100]
        raise DataError(
            f"{path} cannot be read as an .npy array ({reason}); get an undamaged copy."
        ) from error
    try:
        return with_channels(images)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_svhn(path: Path) -> NDArray[np.uint8]:
    """Digits of SVHN's cropped form, [N, 32, 32, 3].

    Raises:
        DataError: If it is not such a file.
    """
    stacked = _variable(path, "X")
    if stacked.ndim != 4:
        raise DataError(
            f"{path} holds X of shape {list(stacked.shape)}; cropped digits are [32, 32, 3, N]."
        )
    return np.ascontiguousarray(stacked.transpose(3, 0, 1, 2))


def read_svhn_digits(path: Path) -> NDArray[np.int64]:
    """Digits of SVHN's images, in their order, [N]; 10 means the digit 0.

    Raises:
        DataError: If it is not a file of SVHN's cropped form.
    """
    return _variable(path, "y").reshape(-1).astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Images of MNIST's form, [N, H, W, 1].

    Raises:
        DataError: If it is not such a file, or was cut short.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())[:100]}); get an undamaged copy."
        ) from error
    head = np.frombuffer(content[: min(len(content), 16) // 4 * 4], dtype=">u4")
    if len(head) < 4 or head[0] != _IDX_IMAGES:
        raise DataError(f"{path} is not an idx3-ubyte file of images; take train- or t10k-images.")
    num, height, width = (int(value) for value in head[1:])
    if len(content) - 16 != num * height * width:
        raise DataError(
            f"{path} holds {len(content) - 16} pixels but says {num} images of {height} x {width}; "
            "it was cut short, so fetch it again."
        )
    pixels = np.frombuffer(content, dtype=np.uint8, offset=16)
    return pixels.reshape(num, height, width, 1)


def _variable(path: Path, name: str) -> NDArray[Any]:
    """One variable of an SVHN file; the others are passed over."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found: NDArray[Any] = loadmat(path, variable_names=[name])[name]
    # NotImplementedError is what SciPy raises for files of MATLAB 7.3, which are HDF5, and
    # IndexError what SciPy before 1.16 raises for short files.
    except (OSError, ValueError, LookupError, NotImplementedError, MatReadError, zlib.error) as why:
        raise DataError(
            f"{path} is not an SVHN file of cropped digits ({type(why).__name__}: "
            f"{' '.join(str(why).split())[:80]}); take train_32x32.mat or test_32x32.mat, or run "
            "`ltood data verify svhn` for the file that was downloaded."
        ) from why
    return found
