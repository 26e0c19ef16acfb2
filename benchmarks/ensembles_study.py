"""Detectors made of others at score level, and what they reach on every OOD set.

Everything here starts from the scores of single methods; maps and combinations are ltood's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ensembles_scores import Scores
from ltood.metrics import measure, rank
from ltood.ops.conformal import RankMap
from ltood.ops.fusion import P_VALUE_RULES, below_one, mean_standardised
from ltood.ops.held_out import first_part
from ltood.ops.screening import error_aurocs, kept

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Columns of every result.
MEASURES = ("auroc", "fpr95_ood_pos", "fpr95_id_pos")


@dataclass(frozen=True, eq=False)
class Parts:
    """Scores of some members on rows for the maps, rows for the decision, and new rows, [K, n].

    Attributes:
        maps: Rows for the maps.
        decision: Rows for the decision.
        test: ID test rows.
        ood: OOD rows by set.
        wrong: Which rows for the maps the head misclassifies, [n].
    """

    maps: Floats
    decision: Floats
    test: Floats
    ood: Mapping[str, Floats]
    wrong: Flags

    @cached_property
    def mapped(self) -> tuple[Floats, dict[str, Floats]]:
        """Logarithms of p-values of test rows and of every OOD set, [K, N]."""
        ood = {name: log_p(self.maps, rows) for name, rows in self.ood.items()}
        return log_p(self.maps, self.test), ood


def parts_of(scores: Scores, members: Sequence[str], share: float = 0.5, seed: int = 0) -> Parts:
    """Val rows cut in two as the method does it, beside test and OOD rows."""
    places = [scores.row(title) for title in members]
    ids, strata = torch.from_numpy(scores.ids["val"]), torch.from_numpy(scores.labels["val"])
    first = first_part(ids, strata, share, seed).numpy()
    val = scores.val[places]
    ood = {name: rows[places] for name, rows in scores.ood.items()}
    wrong = (scores.predictions["val"] != scores.labels["val"])[first]
    return Parts(val[:, first], val[:, ~first], scores.test[places], ood, wrong)


def members_of(parts: Parts, chosen: Flags | NDArray[np.int64]) -> Parts:
    """Some of the members; what was mapped stays mapped."""
    ood = {name: rows[chosen] for name, rows in parts.ood.items()}
    maps, decision, test = (rows[chosen] for rows in (parts.maps, parts.decision, parts.test))
    few = Parts(maps, decision, test, ood, parts.wrong)
    if "mapped" in vars(parts):
        mapped_test, mapped = parts.mapped
        vars(few)["mapped"] = (
            mapped_test[chosen],
            {name: rows[chosen] for name, rows in mapped.items()},
        )
    return few


def screened(parts: Parts, least: float) -> Parts:
    """The members that rank misclassified rows above others, by an AUROC of `least` or more."""
    return members_of(parts, passing(parts.maps, parts.wrong, least))


def passing(maps: Floats, wrong: Flags, least: float) -> Flags:
    """Which members pass the screen, [K]."""
    found = error_aurocs(torch.from_numpy(maps), torch.from_numpy(wrong))
    return kept(found, least).numpy()


def log_p(maps: Floats, scores: Floats) -> Floats:
    """Logarithms of p-values for ranking, [K, N], of members that were mapped on `maps`."""
    fitted = [RankMap.fit(torch.from_numpy(row)) for row in maps]
    pairs = zip(fitted, scores, strict=True)
    return np.stack([one.log_p(torch.from_numpy(row.copy())).numpy() for one, row in pairs])


def fused(log_p_values: Floats, rule: str, map_rows: int) -> Floats:
    """Fused statistic of p-values, [N]; higher means more OOD.

    Beside ltood's own rules: "rank_mean", the mean p-value, and "majority", the number of members
    that call a row OOD at 5 %, ties ordered by the median p-value.
    """
    if rule == "majority":
        votes = (log_p_values <= np.log(0.05)).sum(axis=0)
        return votes - np.exp(np.median(log_p_values, axis=0)) / 2
    if rule == "rank_mean":
        return -np.exp(log_p_values).mean(axis=0)
    bounded = below_one(torch.from_numpy(log_p_values), map_rows)
    return P_VALUE_RULES[rule](bounded).numpy()


def combined(maps: Floats, rows: Floats, rule: str) -> Floats:
    """Fused statistic of rows, [N], of members that were mapped on `maps`, [K, n]."""
    if rule == "z_mean":
        means, deviations = maps.mean(axis=1), maps.std(axis=1)
        given = (torch.from_numpy(values) for values in (rows, means, deviations))
        return mean_standardised(*given).numpy()
    return fused(log_p(maps, rows), rule, maps.shape[1])


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
    if rule == "z_mean":
        ood = {name: combined(parts.maps, rows, rule) for name, rows in parts.ood.items()}
        return combined(parts.maps, parts.test, rule), ood
    test, mapped = parts.mapped
    size = parts.maps.shape[1]
    return fused(test, rule, size), {name: fused(rows, rule, size) for name, rows in mapped.items()}


def regret(found: Floats, singles: Mapping[str, Floats]) -> Floats:
    """AUROC that a detector lacks to the best single method on each set, points, [S]."""
    best = np.max([one[:, 0] for one in singles.values()], axis=0)
    return best - found[:, 0]
