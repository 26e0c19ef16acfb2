"""Far outliers made of ID rows: mixtures of two classes, shuffled dimensions, noise.

They are made in feature space, of held-out rows, so that no image and no network is needed. What
a row becomes depends on its id, the seed and the set of rows, never on their order.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.choosing.keyed import keyed, keyed_normal
from ltood.core.batches import FeatureBatch

Kind = Literal["mixup", "shuffle", "noise"]
#: Arrays that outliers are made of; all else follows from them.
_MADE = ("features", "local")
#: Names what is drawn, beside the seed.
_MIXUP, _SHUFFLE, _NOISE = 1, 2, 3


def outliers(kind: Kind, rows: FeatureBatch, seed: int) -> dict[str, Tensor]:
    """Outliers of one kind.

    Args:
        kind: "mixup" are midpoints of two rows of different classes, "shuffle" takes every
            dimension from another row, "noise" adds as much variance as the rows have.
        rows: ID rows with features, labels, ids and where needed local features.
        seed: The same seed gives the same outliers.

    Returns:
        Arrays by name, one row for each outlier, as float32.
    """
    order = _in_random_order(rows, seed)
    arrays = {
        name: tensor[order].float()
        for name, tensor in rows.arrays.items()
        if name in _MADE and tensor is not None
    }
    return _MAKERS[kind](arrays, rows.labels[order], rows.ids[order], seed)


def _in_random_order(rows: FeatureBatch, seed: int) -> Tensor:
    """Places of the rows sorted by class, and at random within."""
    order = torch.argsort(keyed(rows.ids, seed))
    return order[torch.argsort(rows.labels[order], stable=True)]


def mixed(
    arrays: Mapping[str, Tensor], labels: Tensor, ids: Tensor, seed: int
) -> dict[str, Tensor]:
    """Midpoints of rows of different classes, [N', ...]; unit rows stay unit rows.

    A row is joined with the one that follows in the sorted rows by as many places as the most
    frequent class has rows, so that both are never of one class unless it has half of all rows;
    such pairs are left out.
    """
    del ids, seed
    step = int(torch.bincount(labels).amax()) if len(labels) else 0
    is_mixed = labels != labels.roll(step)
    made = {}
    for name, rows in arrays.items():
        middle = ((rows + rows.roll(step, dims=0)) / 2)[is_mixed]
        made[name] = normalize(middle, dim=-1) if _are_unit(rows) else middle
    return made


def shuffled(
    arrays: Mapping[str, Tensor], labels: Tensor, ids: Tensor, seed: int
) -> dict[str, Tensor]:
    """Rows whose dimensions come from different rows, [N, ...].

    Each dimension keeps its distribution, and what it has in common with others is lost.
    """
    del labels
    made = {}
    num = len(ids)
    for name, rows in arrays.items():
        dims = torch.arange(rows.shape[-1], device=rows.device)
        steps = (keyed(dims, seed, _SHUFFLE) * num).long()
        places = (torch.arange(num, device=rows.device)[:, None] + steps) % max(1, num)
        places = places.view(num, *[1] * (rows.ndim - 2), -1).expand(rows.shape)
        mixture = rows.gather(0, places)
        made[name] = normalize(mixture, dim=-1) if _are_unit(rows) else mixture
    return made


def noisy(
    arrays: Mapping[str, Tensor], labels: Tensor, ids: Tensor, seed: int
) -> dict[str, Tensor]:
    """Rows with Gaussian noise of each dimension's own deviation, [N, ...].

    Where no feature is negative, as behind a ReLU, none becomes so.
    """
    del labels
    made = {}
    for place, (name, rows) in enumerate(arrays.items()):
        flat = rows.flatten(1)
        deviation = rows.flatten(0, -2).double().std(dim=0, correction=0)
        noise = keyed_normal(ids, flat.shape[1], seed, _NOISE, place).view(rows.shape)
        moved = (rows + deviation * noise).float()
        if (rows >= 0).all():
            moved = moved.relu()
        made[name] = normalize(moved, dim=-1) if _are_unit(rows) else moved
    return made


def _are_unit(rows: Tensor) -> bool:
    """Whether all rows have length 1, as those of CLIP."""
    lengths = torch.linalg.vector_norm(rows, dim=-1)
    return bool(((lengths - 1).abs() < 1e-3).all())


_MAKERS: Mapping[Kind, Callable[[Mapping[str, Tensor], Tensor, Tensor, int], dict[str, Tensor]]] = {
    "mixup": mixed,
    "shuffle": shuffled,
    "noise": noisy,
}
