"""Products, inverses and eigenvectors by the routines of BLAS and LAPACK that suit them.

Where half is known beforehand they skip that half, which torch does not offer: its products
compute both halves of a Gram matrix, multiply with the zeros of a triangular one, and solve for
its inverse with those of the identity. On a GPU, where that matters less, torch does all.
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


def inverse_lower(factor: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix without zeros on its diagonal, [D, D] float64."""
    if factor.is_cuda:
        identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        solved: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
        return solved
    from scipy.linalg.lapack import dtrtri

    # Transposed on both sides, as above.
    inverse, failed = dtrtri(factor.contiguous().numpy().T, lower=0)
    if failed:
        raise DataError("a triangular matrix has a zero on its diagonal, so it has no inverse.")
    return torch.from_numpy(inverse.T).tril()


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order, [D], and eigenvectors as columns, [D, D].

    Args:
        matrix: Symmetric, [D, D] float64.
    """
    if matrix.is_cuda:
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    from scipy.linalg import eigh

    # A third faster than torch's at 2,048 columns.
    found = eigh(matrix.numpy(), driver="evd")
    return torch.from_numpy(found[0]), torch.from_numpy(found[1].copy(order="C"))
