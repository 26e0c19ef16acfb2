"""Files that are mapped into memory and written there, in the place of arrays that are too large.

The room on the disk is taken at once. Otherwise a disk that is full when a page is written ends
the process with a signal (SIGBUS), and no word.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ltood.core.errors import StoreError
from ltood.runtime.large import take_space


def map_new(path: Path, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
    """Make a file of zeros and map it, to be written and read.

    Args:
        path: A free name.
        dtype: Kind of numbers.
        shape: Shape of the array.

    Returns:
        The array; what is written to it goes to the file.

    Raises:
        StoreError: If the disk has too little room or cannot be written.
    """
    kind, shape = np.dtype(dtype), tuple(shape)
    size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
    try:
        with path.open("xb") as file:
            if size:
                take_space(file, size)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}, a temporary file of {size:,} bytes: {error.strerror or error}; "
            "free space there, or name a folder on another disk in the environment variable TMPDIR."
        ) from error
    if not size:  # Nothing can be mapped.
        return np.empty(shape, kind)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)
