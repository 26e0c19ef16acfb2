"""Operations of torch as others of the same result, which a graph with open rows can hold.

The rules of the originals for `torch.vmap` ask for the number of rows as a plain number, which
would fix it, or ONNX lacks them.
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
    """As `torch.scatter`, for an index that names no place twice."""
    given = value if src is None else src
    hits = _hits(index, input.shape[dim], dim)
    if isinstance(given, Tensor):
        given = torch.where(hits, given.movedim(dim, -1)[..., :, None], 0).sum(dim=-2)
    assert given is not None
    return torch.where(hits.any(dim=-2), given, input.movedim(dim, -1)).movedim(-1, dim)


def _in_place(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As an operation in place, whose result is given by `operation` in new memory."""

    def replaced(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        return input.copy_(operation(input, *args, **kwargs))

    return replaced


def bucketize(input: Tensor, boundaries: Tensor, *, right: bool = False) -> Tensor:
    """As `torch.bucketize`: how many boundaries lie below each number."""
    numbers = input[..., None]
    return (numbers >= boundaries if right else numbers > boundaries).sum(dim=-1)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """As `torch.cdist` for Euclidean distances, from differences."""
    if p != 2:
        return torch.cdist(x1, x2, p)
    return (x1[..., :, None, :] - x2[..., None, :, :]).square().sum(dim=-1).sqrt()


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
    Tensor.clamp_: _in_place(Tensor.clamp),
    Tensor.square_: _in_place(Tensor.square),
    Tensor.sub_: _in_place(Tensor.sub),
    torch.bucketize: bucketize,
    torch.cdist: cdist,
}
