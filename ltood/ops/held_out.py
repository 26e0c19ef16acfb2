"""Held-out ID rows cut in two: one part to learn from, the other to make promises with.

Which part a row is in depends on its id, its class, how many rows there are and a seed, never on
the order of rows, on batches or on the machine.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Ids, Labels

#: Shares are counted in millionths, so that a half of 20 rows is 10.
_MILLION = 10**6
#: Steps and multipliers of splitmix64, which spreads the bits of a counter.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def first_part(ids: Ids, strata: Labels, share: float, seed: int) -> Tensor:
    """Which rows are in the first part, [N] bool: as near as can be to `share` in every stratum.

    Rows are walked stratum by stratum, in the order of a keyed hash of their ids, and one is taken
    as often as `share` says. So each stratum, and all rows together, miss it by less than one row.
    Rows with the same id are in the same part if they are in the same stratum and neighbours in
    that walk; who must be sure asks for ids that are not in the first part.

    Args:
        ids: Ids of the rows, [N].
        strata: What each part must hold a share of, such as the class, [N].
        share: Share of the rows, above 0 up to 1; six decimals count.
        seed: Another seed gives another split.
    """
    numbers = ids.cpu().numpy()
    order = np.lexsort((numbers, keyed_hash(numbers, seed), strata.cpu().numpy()))
    millionths = round(share * _MILLION)
    taken = np.arange(1, len(numbers) + 1, dtype=np.int64) * millionths // _MILLION
    chosen = np.empty(len(numbers), dtype=bool)
    chosen[order] = np.diff(taken, prepend=0) > 0
    return torch.from_numpy(chosen).to(ids.device)


def keyed_hash(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number of 64 bits for each id, [N], by the mixing of splitmix64 with the seed as key."""
    key = _mixed(np.array([seed], dtype=np.uint64))
    return _mixed(ids.astype(np.int64, copy=False).view(np.uint64) ^ key)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # Numbers of 64 bits that wrap around are what is wanted.
        mixed = values + np.uint64(_STEP)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    found: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found


def ids_and_strata(source: FeatureSource) -> tuple[Ids, Labels]:
    """Ids of rows and their classes, [N] each; the predicted class where a row has no label."""
    ids, strata = [], []
    for batch in source.batches(arrays=("ids", "labels")):
        ids.append(batch.ids)
        labels = batch.arrays.get("labels")
        strata.append(torch.full_like(batch.ids, -1) if labels is None else labels)
    found = torch.cat(strata)
    if bool((found < 0).any()):
        predicted = [_predicted(batch) for batch in source.batches(arrays=("ids", "logits"))]
        found = torch.where(found < 0, torch.cat(predicted), found)
    return torch.cat(ids), found


def _predicted(batch: FeatureBatch) -> Labels:
    """Classes that the head predicts, [N]; -1 where there is no head."""
    if "logits" not in batch.arrays:
        return torch.full_like(batch.ids, -1)
    return batch.logits.argmax(dim=1)
