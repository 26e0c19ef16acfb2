"""Arrays in files of many formats, read in row blocks without executing code.

| ending | holds |
|---|---|
| `.npz` | arrays by name |
| `.npy` | one array: `train.npy` are features, `train_labels.npy` are labels |
| `.safetensors` | tensors by name |
| `.pt`, `.pth` | a dictionary of tensors, or one tensor named as for `.npy` |
| `.parquet`, `.arrow`, `.feather` | one column per array, features as lists of equal length |
| a folder | a data set of Hugging Face `datasets`, saved with save_to_disk |
| `.txt` | text, one entry per line: `head_class_names.txt` |

Only the rows that are asked for are in memory, except in `.npz` and `.parquet` files, which are
read from their beginning on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.runtime.numpy_files import UNREADABLE
from ltood.store.archives import Archive
from ltood.store.arrow import arrow_columns, data_set_columns, parquet_columns
from ltood.store.tables import Lazy, Table, damaged


def open_table(path: Path, array: str = "features") -> Table:
    """Open one file.

    Args:
        path: The file.
        array: Name of its array where the format has none.

    Raises:
        DataError: If it is missing, damaged or of another format.
        MissingPackageError: If the package that reads it is not installed.
    """
    if path.is_dir():
        return Table(path, data_set_columns(path))
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    if path.suffix == ".npz":
        return Archive(path)
    if path.suffix not in READERS:
        raise DataError(
            f"{path} is not read; known endings are .npz, {', '.join(READERS)}, in lower case. "
            "Convert, rename or remove the file."
        )
    return Table(path, READERS[path.suffix](path, array))


def _numpy(path: Path, array: str) -> dict[str, Lazy]:
    try:
        return {array: Lazy.of(np.load(path, mmap_mode="r", allow_pickle=False))}
    except UNREADABLE as error:
        raise damaged(path, "NumPy array", error) from None


def _text(path: Path, array: str) -> dict[str, Lazy]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise damaged(path, "text file in UTF-8", error) from None
    return {array: Lazy.of(np.array(lines, dtype=np.str_))}


def _safetensors(path: Path, _: str) -> dict[str, Lazy]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            # An empty slice has the type; a number by itself cannot be cut.
            types = {
                name: _torch_dtype((part[:0] if part.get_shape() else file.get_tensor(name)).dtype)
                for name, part in found.items()
            }
    except (SafetensorError, OSError) as error:
        raise damaged(path, "file of safetensors", error) from None

    def reader(name: str, shape: tuple[int, ...]) -> Callable[[int, int], NDArray[Any]]:
        def read(start: int, stop: int) -> NDArray[Any]:
            with safe_open(path, framework="pt") as file:
                if not shape:
                    return _as_numpy(file.get_tensor(name))
                return _as_numpy(file.get_slice(name)[start:stop])

        return read

    shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
    return {n: Lazy(shapes[n], types[n], reader(n, shapes[n])) for n in found}


def _torch(path: Path, array: str) -> dict[str, Lazy]:
    import torch

    try:
        try:
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # Files of old versions of torch cannot be mapped.
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's restricted reader fails in any way on other bytes
        raise DataError(
            f"{path} holds something other than tensors, which could execute code, or is damaged "
            f"({(str(error).splitlines() or ['empty'])[0][:80]}); save tensors or a dictionary of "
            "them."
        ) from None
    tensors = held if isinstance(held, Mapping) else {array: held}
    found = {}
    for name, value in tensors.items():
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            found[str(name)] = Lazy.of(np.array(value))
            continue
        if not isinstance(value, torch.Tensor):
            raise DataError(
                f"{path}: {name} is a {type(value).__name__}; save tensors or a dictionary of them."
            )
        found[str(name)] = _of_tensor(value)
    return found


def _of_tensor(tensor: Any) -> Lazy:  # noqa: ANN401 - torch is imported late
    def read(start: int, stop: int) -> NDArray[Any]:
        return _as_numpy(tensor[start:stop] if tensor.ndim else tensor)

    return Lazy(tuple(tensor.shape), _torch_dtype(tensor.dtype), read)


def _as_numpy(tensor: Any) -> NDArray[Any]:  # noqa: ANN401
    """A tensor as an array; NumPy has no bfloat16, which float32 holds exactly."""
    import torch

    values = tensor.detach()
    values = values.float() if values.dtype == torch.bfloat16 else values
    array: NDArray[Any] = values.numpy()
    return array


def _torch_dtype(dtype: Any) -> np.dtype[Any]:  # noqa: ANN401
    import torch

    return _as_numpy(torch.empty(0, dtype=dtype)).dtype


READERS: Mapping[str, Callable[[Path, str], dict[str, Lazy]]] = {
    ".npy": _numpy,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".parquet": parquet_columns,
    ".arrow": arrow_columns,
    ".feather": arrow_columns,
    ".txt": _text,
}
#: Endings of files that may hold one array without a name.
ONE_ARRAY = (".npy", ".pt", ".pth", ".txt")
