"""Sending many tensors among ranks as a few large ones.

A network has hundreds of small tensors, and each message costs the same, however short it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

#: Bytes that are sent at once.
BUCKET_BYTES = 25 * 2**20


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks; all of them must call it alike."""
    _sent(tensors, dist.all_reduce)


def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of rank 0; all of them must call it alike."""
    _sent(tensors, lambda flat: dist.broadcast(flat, src=0))


@torch.no_grad()
def _sent(tensors: Iterable[Tensor], send: Callable[[Tensor], object]) -> None:
    for bucket in _buckets(tensors):
        # In the order of the indices, because ranks may keep a tensor in other memory layouts.
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        send(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Tensors of one kind, as many as fit; one that is larger comes alone."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        held: list[Tensor] = []
        size = 0
        for tensor in alike:
            own = tensor.numel() * tensor.element_size()
            if held and size + own > BUCKET_BYTES:
                yield held
                held, size = [], 0
            held.append(tensor)
            size += own
        yield held
