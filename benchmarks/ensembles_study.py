"""Detectors made of others at score level, and what they reach on every OOD set.

Everything here starts from the scores of single methods; maps and combinations are ltood's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.ensembles_scores import Scores
from numpy.typing import NDArray
from scipy.special import ndtri_exp

from ltood.metrics import measure, rank
from ltood.ops.conformal import RankMap
from ltood.ops.held_out import first_part

Floats = NDArray[np.float64]
#: Columns of every result.
MEASURES = ("auroc", "fpr95_ood_pos", "fpr95_id_pos")


@dataclass(frozen=True, eq=False)
class Parts:
    """Scores of some members on rows for the maps, rows for the decision, and new rows, [K, n]."""

    maps: Floats
    decision: Floats
    test: Floats
    ood: Mapping[str, Floats]


def parts_of(
    scores: Scores, members: Sequence[str], share: float = 0.5, seed: int = 0
) -> Parts:
    """Val rows cut in two as the method does it, beside test and OOD rows."""
    places = [scores.row(title) for title in members]
    ids, strata = torch.from_numpy(scores.ids["val"]), torch.from_numpy(scores.labels["val"])
    first = first_part(ids, strata, share, seed).numpy()
    val = scores.val[places]
    ood = {name: rows[places] for name, rows in scores.ood.items()}
    return Parts(val[:, first], val[:, ~first], scores.test[places], ood)


def log_p(maps: Floats, scores: Floats) -> Floats:
    """Logarithms of p-values for ranking, [K, N], of members that were mapped on `maps`."""
    fitted = [RankMap.fit(torch.from_numpy(row)) for row in maps]
    pairs = zip(fitted, scores, strict=True)
    return np.stack([one.log_p(torch.from_numpy(row)).numpy() for one, row in pairs])


def fused(log_p_values: Floats, rule: str) -> Floats:
    """Fused statistic, [N]; higher means more OOD."""
    members = len(log_p_values)
    if rule == "majority":
        # Members that call the row OOD at 5 %; ties by how rare the row is for the median member.
        votes = (log_p_values <= np.log(0.05)).sum(axis=0)
        return votes - np.exp(np.median(log_p_values, axis=0)) / 2
    if rule == "rank_mean":
        return -np.exp(log_p_values).mean(axis=0)
    if rule == "fisher":
        return -log_p_values.sum(axis=0)
    if rule == "min_p":
        return -log_p_values.min(axis=0)
    if rule == "simes":
        ordered = np.sort(log_p_values, axis=0)
        return -(ordered - np.log(np.arange(1, members + 1))[:, None]).min(axis=0)
    normal = -ndtri_exp(np.minimum(log_p_values, -1e-12))
    if rule == "stouffer":
        return normal.mean(axis=0)
    if rule == "top_half":
        return -np.sort(-normal, axis=0)[: (members + 1) // 2].mean(axis=0)
    raise ValueError(rule)
