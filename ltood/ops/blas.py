"""Products of which half is known beforehand, by the BLAS routines that skip that half.

torch offers neither: its products compute both halves of a Gram matrix and multiply with the
zeros of a triangular one. On a GPU, where that matters less, the plain products are taken.
"""

import torch
from torch import Tensor

from ltood.core.errors import DataError
from ltood.ops.graphs import is_written


def add_gram(scatter: Tensor, rows: Tensor) -> None:
    """Add rows^T rows to `scatter` in place, on and below the diagonal alone.

    Args:
        scatter: [D, D] float64, contiguous; what stands above the diagonal means nothing.
        rows: [n, D] float64.
    """
    if rows.is_cuda:
        scatter.addmm_(rows.T, rows)
        return
    from scipy.linalg.blas import dsyrk

    # BLAS counts columns first: its upper half is our lower one.
    target = scatter.numpy().T
    found = dsyrk(1.0, rows.contiguous().numpy().T, beta=1.0, c=target, overwrite_c=1, lower=0)
    assert found.base is target.base or found is target  # written in place, not to a copy


def symmetric(scatter: Tensor) -> Tensor:
    """The whole matrix of one whose lower half is known, [D, D]."""
    lower = scatter.tril()
    return lower + lower.tril(-1).T


def times_upper(rows: Tensor, upper: Tensor, *, overwrite: bool = False) -> Tensor:
    """Rows times an upper triangular matrix, [n, D] float64.

    Args:
        rows: [n, D] float64, left as they are unless `overwrite`.
        upper: [D, D] float64 with zeros below the diagonal.
        overwrite: Let the product take the place of contiguous `rows`.

    Raises:
        DataError: If the rows have another width; BLAS would take part of the matrix.
    """
    if rows.shape[1] != len(upper):
        raise DataError(
            f"rows have {rows.shape[1]} columns but the learned map takes {len(upper)}; fit and "
            "score rows of the same network."
        )
    if rows.is_cuda or rows.requires_grad or upper.requires_grad or is_written():
        return rows @ upper
    from scipy.linalg.blas import dtrmm

    # Transposed on both sides: what is contiguous for us is column-major there.
    kept = rows.contiguous() if overwrite else rows.clone(memory_format=torch.contiguous_format)
    target = kept.numpy().T
    product = dtrmm(1.0, upper.contiguous().numpy().T, target, lower=1, overwrite_b=1)
    return torch.from_numpy(product.T)
