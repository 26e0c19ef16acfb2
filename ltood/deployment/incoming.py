"""Rows that a caller hands to a detector: their shapes, and whether their numbers are finite."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.arrays import Rows, as_array, as_tensor
from ltood.core.errors import DataError, MissingNeedError
from ltood.scoring.sources import to_tensor

#: Bad rows that a message lists.
_LISTED = 5


def shaped(features: Rows, dim: int) -> Tensor | NDArray[Any]:
    """Features as [N, D], or one row as [1, D]; nothing is read yet.

    Args:
        features: Features, [N, D] or [D].
        dim: Width D that the detector was fitted on.

    Raises:
        DataError: If they have another shape or width.
    """
    rows = _sliceable(features, "features")
    if rows.ndim == 1:
        rows = rows[None]
    if rows.ndim != 2:
        raise DataError(
            f"features have shape {list(rows.shape)}; they must be [N, D], or [D] for one row."
        )
    if rows.shape[1] != dim:
        raise DataError(
            f"features have {rows.shape[1]} columns but the detector was fitted on "
            f"{dim}; extract them with the backbone the detector belongs to."
        )
    return rows


def shaped_local(local: Rows | None, rows: int, method: str) -> Tensor | NDArray[Any]:
    """Local features as [N, P, D]; nothing is read yet.

    Args:
        local: Local features, [N, P, D], or [P, D] for one row.
        rows: Number of rows N of the features.
        method: Name of the method that reads them.

    Raises:
        MissingNeedError: If there are none.
        DataError: If they have another shape.
    """
    if local is None:
        raise missing_local(method)
    patches = _sliceable(local, "local features")
    if patches.ndim == 2 and rows == 1:
        patches = patches[None]
    if patches.ndim != 3 or len(patches) != rows:
        raise DataError(
            f"local features have shape {list(patches.shape)} for {rows} rows of features; "
            "they must be [N, P, D] with the same N."
        )
    return patches


def missing_local(method: str) -> MissingNeedError:
    """What to raise where a method reads local features and there are none."""
    return MissingNeedError(
        f"method {method} reads local features, and none were "
        "given; pass local=[N, P, D], or export a detector with another method."
    )


def _sliceable(rows: Rows, what: str) -> Tensor | NDArray[Any]:
    """Rows that can be read slice by slice: a tensor, or an array that may lie on disk."""
    if isinstance(rows, Tensor | np.ndarray):
        return rows
    # Arrays of Zarr and HDF5 are sliced by row too; a table is not, and has several types.
    if all(hasattr(rows, name) for name in ("dtype", "shape", "ndim", "__getitem__")):
        return cast(NDArray[Any], rows)
    return as_array(rows, what)


def finite(rows: Tensor | NDArray[Any], what: str, device: torch.device, start: int) -> Tensor:
    """Rows as float32 on a device.

    Args:
        rows: Rows of a block.
        what: Their name.
        device: Where they go.
        start: Number of the first one.

    Raises:
        DataError: If one is not finite.
    """
    if isinstance(rows, Tensor):
        found = as_tensor(rows, what).to(device).float()
    else:
        found = to_tensor(np.ascontiguousarray(as_array(rows, what)), device).float()
    bad = ~torch.isfinite(found.flatten(1)).all(dim=1)
    if bad.any():
        numbers = (bad.nonzero().flatten() + start).tolist()
        raise DataError(
            f"{what} of rows {listed(numbers)} hold NaN or infinity ({len(numbers)} such rows); "
            "every value must be finite. Leave these rows out or extract them again."
        )
    return found


def listed(items: Sequence[object]) -> str:
    """The first few of some rows, for a message."""
    shown = ", ".join(map(str, items[:_LISTED]))
    return f"{shown}, …" if len(items) > _LISTED else shown
