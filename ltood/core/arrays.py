"""Arrays that Python callers hand over: tensors, NumPy arrays, nested lists.

Features that come from a store were checked on import. These were not: NaN would run through
every method in silence, and a wrong shape would end in a message of torch's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError

#: What callers may pass for rows of numbers.
Rows = Tensor | NDArray[Any] | Sequence[Any]

#: Types whose numbers float32 holds exactly; they are widened slice by slice, when read.
_NARROW = (torch.float32, torch.float16, torch.bfloat16)


def as_tensor(values: Rows, what: str) -> Tensor:
    """Numbers as a tensor without gradients; memory is shared where possible.

    Args:
        values: Tensor, NumPy array, or anything that NumPy reads as an array of numbers.
        what: Their name, such as "features".

    Raises:
        DataError: If they are not a dense array of real numbers.
    """
    if isinstance(values, Tensor):
        return _dense(values, what).detach()
    if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
        return as_tensor(_stacked(values, what), what)
    array = as_array(values, what)
    # torch neither walks backwards through memory nor accepts what must not be written to.
    shareable = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if shareable else array.copy())


def as_array(values: Rows, what: str) -> NDArray[Any]:
    """Numbers as an array of a type that torch knows; memory is shared where possible.

    Args:
        values: Tensor, NumPy array, or anything that NumPy reads as an array of numbers.
        what: Their name, such as "features".

    Returns:
        An array in the byte order of this machine; it may be read-only.

    Raises:
        DataError: If they are not a dense array of real numbers.
    """
    if isinstance(values, Tensor):
        tensor = _dense(values, what).detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
        return as_array(_stacked(values, what), what)
    if np.ma.is_masked(values):
        raise DataError(f"{what} hold masked values; fill them in or leave these rows out.")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what} {_RAGGED}") from error
    if array.dtype.kind not in "fiub":
        kinds = {"O": _RAGGED, "c": _COMPLEX}
        found = f"hold {array.dtype}; give an array of real numbers."
        raise DataError(f"{what} {kinds.get(array.dtype.kind, found)}")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        fits = array.max(initial=0) <= np.iinfo(np.int64).max
        array = array.astype(np.int64 if fits else np.float64)
    elif array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    native: NDArray[Any] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native


_RAGGED = "are not a rectangular array of numbers; give rows of equal length, without text."
_COMPLEX = "are complex; give real numbers, such as their absolute values."


def _dense(tensor: Tensor, what: str) -> Tensor:
    if tensor.is_complex():
        raise DataError(f"{what} {_COMPLEX}")
    if tensor.layout != torch.strided:
        raise DataError(f"{what} are a sparse tensor; pass {what.split()[-1]}.to_dense().")
    if tensor.is_quantized:
        raise DataError(f"{what} are quantised; pass {what.split()[-1]}.dequantize().")
    return tensor


def _stacked(values: Sequence[Any], what: str) -> Tensor:
    try:
        return torch.stack(list(values))
    except (RuntimeError, TypeError) as error:
        raise DataError(f"{what} {_RAGGED}") from error


def as_rows(values: Rows | None, what: str, shape: str, width: int | None = None) -> Tensor | None:
    """Rows as a floating-point tensor of the right shape; None passes.

    Half precision stays as it is, to be widened when read; all else becomes float32.

    Args:
        values: Rows, or None.
        what: Their name, such as "features".
        shape: Shape they must have, such as "[N, D]".
        width: Size of the last dimension, if the head determines it.

    Raises:
        DataError: If they are not numbers or have another shape.
    """
    if values is None:
        return None
    rows = as_tensor(values, what)
    sizes = list(rows.shape)
    if rows.ndim != shape.count(",") + 1:
        raise DataError(f"{what} have shape {sizes}; they must be {shape}.")
    if width is not None and rows.shape[-1] != width:
        raise DataError(
            f"{what} have shape {sizes}, but with this head the last size must be {width}; "
            "features and head must come from the same network."
        )
    # Products round by the layout of memory; rows score alike, however they came.
    return (rows if rows.dtype in _NARROW else rows.float()).contiguous()


def as_labels(values: Rows, what: str = "labels") -> Tensor:
    """Class numbers as int64, [N].

    Args:
        values: Whole numbers of any integer type, [N].
        what: Their name.

    Raises:
        DataError: If they are not whole numbers or have another shape.
    """
    labels = as_tensor(values, what)
    if labels.numel() == 0 and not isinstance(values, Tensor):
        labels = labels.long()  # NumPy takes an empty list for floating-point numbers.
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        found = f"{str(labels.dtype).removeprefix('torch.')} of shape {list(labels.shape)}"
        raise DataError(f"{what} are {found}; they must be whole numbers, [N], one per row.")
    return labels.long()


def check_classes(labels: Tensor, num_classes: int, rows: str = "training") -> None:
    """Refuse labels of training rows, or other `rows`, that are not a class, [N] int64.

    Raises:
        DataError: With the first such row.
    """
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise DataError(
            f"row {row} of the {rows} rows holds the label {int(labels[row])}; labels of "
            f"{rows} rows are 0 to {num_classes - 1}. Leave out rows without a class."
        )


def check_finite(
    tensor: Tensor, what: str, remedy: str = "leave these rows out or extract them again"
) -> None:
    """Refuse NaN and infinity in rows, [N] or [N, ...].

    Args:
        tensor: Rows.
        what: Their name, such as "features".
        remedy: What to do about such rows.

    Raises:
        DataError: With the number of such rows and the first one.
    """
    # A sum takes half of the time and is finite for all rows that any network gives.
    if not torch.isfinite(tensor.sum()) and not (finite := torch.isfinite(tensor)).all():
        bad = (~finite).reshape(len(finite), -1).any(dim=1).nonzero()[:, 0]
        raise DataError(
            f"{what} hold NaN or infinity in {len(bad)} of {len(tensor)} rows (first in row "
            f"{int(bad[0])}); {remedy}."
        )


def like(given: Rows | None, result: Tensor) -> Any:  # noqa: ANN401 - tensor or NumPy array
    """`result` as the caller gave rows: a tensor on the same device, else a NumPy array."""
    if isinstance(given, Tensor):
        return result.to(given.device)
    return result.cpu().numpy()
