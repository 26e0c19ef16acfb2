"""Operations of torch as others of the same result, whose rules for `torch.vmap` keep rows open.

The rules of the originals ask for the number of rows as a plain number, which would fix it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def _hits(index: Tensor, places: int, dim: int) -> Tensor:
    """Which place each index names, [..., k, places], `dim` moved to the end."""
    return index.movedim(dim, -1)[..., :, None] == torch.arange(places)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """As `torch.gather`, for an index that is as long as `input` along other axes."""
    rows = input.movedim(dim, -1)[..., None, :]
    chosen = torch.where(_hits(index, input.shape[dim], dim), rows, 0)
    return chosen.sum(dim=-1).to(input.dtype).movedim(-1, dim)


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor | float | None = None,
    value: float | None = None,
) -> Tensor:
    """As `torch.scatter` with one number for all places."""
    number = value if src is None else src
    if isinstance(number, Tensor) or number is None:
        return torch.Tensor.scatter(input, dim, index, number)  # type: ignore[arg-type]
    hit = _hits(index, input.shape[dim], dim).any(dim=-2)
    return torch.where(hit, number, input.movedim(dim, -1)).movedim(-1, dim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """As `torch.cat`: each tensor among zeros, and all of them summed."""
    if len(tensors) == 1:
        return tensors[0]
    total, before = sum(tensor.shape[dim] for tensor in tensors), 0
    parts = []
    for tensor in tensors:
        moved = tensor.movedim(dim, -1)
        after = total - before - tensor.shape[dim]
        parts.append(pad(moved, (before, after)).movedim(-1, dim))
        before += tensor.shape[dim]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


#: What stands for what.
REPLACED: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.gather: gather,
    Tensor.gather: gather,
    torch.scatter: scatter,
    Tensor.scatter: scatter,
    torch.cat: cat,
    torch.concat: cat,
}
