"""Checks of the plain tensors that Python callers hand over.

Features that come from a store were checked on import. Here nobody has looked before: NaN would
run through every method in silence, and a wrong shape would end in a message of torch's.
"""

import torch
from torch import Tensor

from ltood.core.errors import DataError


def check_rows(tensor: Tensor | None, what: str, shape: str, width: int | None) -> None:
    """Refuse rows of another shape than a method reads.

    Args:
        tensor: Rows, or None, which passes.
        what: Their name, such as "features".
        shape: Shape they must have, such as "[N, D]".
        width: Size of the last dimension, where the head says it.

    Raises:
        DataError: If something is wrong.
    """
    if tensor is None:
        return
    if not isinstance(tensor, Tensor):
        raise DataError(
            f"{what} are a {type(tensor).__name__}; give a torch tensor (torch.from_numpy)."
        )
    sizes = list(tensor.shape)
    if tensor.ndim != shape.count(",") + 1:
        raise DataError(f"{what} have shape {sizes}; they must be {shape}.")
    if width is not None and tensor.shape[-1] != width:
        raise DataError(
            f"{what} have shape {sizes}, but with this head the last size must be {width}; "
            "features and head must come from the same network."
        )


def check_finite(tensor: Tensor, what: str) -> None:
    """Refuse numbers that are not finite.

    Args:
        tensor: Rows, [N, ...].
        what: Their name, such as "features".

    Raises:
        DataError: If a row holds NaN or infinity.
    """
    # A sum takes half of the time and is finite for all rows that any network gives.
    if not torch.isfinite(tensor.sum()) and not (finite := torch.isfinite(tensor)).all():
        bad = (~finite).flatten(1).any(dim=1).nonzero()[:, 0]
        raise DataError(
            f"{what} hold NaN or infinity in {len(bad)} of {len(tensor)} rows (first in row "
            f"{int(bad[0])}); leave these rows out or extract them again."
        )


def check_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Training labels as int64, [N].

    Args:
        labels: Whole numbers of any type, [N].
        num_classes: C.

    Raises:
        DataError: If they have another shape, are no whole numbers or no class.
    """
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        found = type(labels).__name__
        if isinstance(labels, Tensor):
            found = f"{str(labels.dtype).removeprefix('torch.')} of shape {list(labels.shape)}"
        raise DataError(f"labels are {found}; they must be a tensor of whole numbers, [N].")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise DataError(
            f"row {row} of the training rows holds the label {int(labels[row])}; labels of "
            f"training rows are 0 to {num_classes - 1}. Leave out rows of no class."
        )
    return labels.long()
