"""Detectors made of others at score level, and what they reach on every OOD set.

Everything here starts from the scores of single methods; maps and combinations are ltood's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri_exp

from benchmarks.ensembles_scores import Scores
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


def parts_of(scores: Scores, members: Sequence[str], share: float = 0.5, seed: int = 0) -> Parts:
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
    if rule == "cauchy":
        p = np.exp(np.maximum(log_p_values, np.log(1e-15)))
        return np.tan(np.pi * (0.5 - p)).mean(axis=0)
    normal = -ndtri_exp(np.minimum(log_p_values, -1e-12))
    if rule == "stouffer":
        return normal.mean(axis=0)
    if rule == "top_half":
        return -np.sort(-normal, axis=0)[: (members + 1) // 2].mean(axis=0)
    raise ValueError(rule)


def results(test: Floats, ood: Mapping[str, Floats]) -> Floats:
    """All measures on all OOD sets, percent, [S, 3]."""
    found = [measure(rank(test, rows)) for rows in ood.values()]
    return np.array([[100 * one[name] for name in MEASURES] for one in found])


def single_results(scores: Scores) -> dict[str, Floats]:
    """Results of every single method by its title."""
    return {
        title: results(scores.test[k], {name: rows[k] for name, rows in scores.ood.items()})
        for k, title in enumerate(scores.rows)
    }


def ensemble_scores(parts: Parts, rule: str) -> tuple[Floats, dict[str, Floats]]:
    """Fused scores of test rows and of every OOD set."""
    test = fused(log_p(parts.maps, parts.test), rule)
    return test, {name: fused(log_p(parts.maps, rows), rule) for name, rows in parts.ood.items()}


def regret(found: Floats, singles: Mapping[str, Floats]) -> Floats:
    """AUROC that a detector lacks to the best single method on each set, points, [S]."""
    best = np.max([one[:, 0] for one in singles.values()], axis=0)
    return best - found[:, 0]
