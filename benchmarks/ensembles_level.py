"""Realised false alarms of an ensemble over many random splits of held-out ID rows.

Val and test rows together are split anew each time: rows for the maps, rows for the decision and
new rows. Given that pool the splits are independent draws, so that rates can be held against
exact laws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ensembles_scores import Scores
from benchmarks.ensembles_statistics import alarm_interval
from benchmarks.ensembles_study import Flags, Floats, combined, passing
from ltood.core.prior import GROUPS, ClassPrior
from ltood.ops.conformal import RankMap
from ltood.ops.mondrian import GroupedMap

LEVELS = (0.01, 0.05, 0.1)
#: Fewest calibration rows of a group; smaller ones are merged with the next.
MINIMUM = 99
Fuse = Callable[[Floats, Flags, Floats], Floats]


@dataclass(frozen=True, eq=False)
class Draw:
    """One split: p-values of new rows by the second map, and what names their groups."""

    plain: Floats
    grouped: Floats
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]
    decision: NDArray[np.int64]
    parts: NDArray[np.int64]


@dataclass(frozen=True)
class Rate:
    """False alarms at one level in one group.

    Attributes:
        mean: Mean share flagged over the splits.
        low: 5th percentile over the splits.
        high: 95th percentile.
        inside: Share of the splits whose number of alarms lies in its exact 95 % interval.
    """

    mean: float
    low: float
    high: float
    inside: float


def draws(scores: Scores, fuse: Fuse, places: list[int], num: int) -> Iterator[Draw]:
    """Split the pool again and again.

    Args:
        scores: Scores of one feature set.
        fuse: Makes a statistic of the scores of map rows, which of them are misclassified, and
            the scores of rows, [K, n].
        places: Members.
        num: Number of splits.
    """
    pool = np.concatenate([scores.val[places], scores.test[places]], axis=1)
    names = list(ClassPrior.of(scores.counts).groups())
    group = np.array([GROUPS.index(name) for name in names])
    classes, labels = (
        np.concatenate([column[split] for split in ("val", "test")])
        for column in (scores.predictions, scores.labels)
    )
    predicted, true, wrong = group[classes], group[labels], classes != labels
    num_val = scores.val.shape[1]
    for seed in range(num):
        order = np.random.default_rng(seed).permutation(pool.shape[1])
        maps, rest = order[: num_val // 2], order[num_val // 2 :]
        cut = num_val - num_val // 2
        statistic = torch.from_numpy(fuse(pool[:, maps], wrong[maps], pool[:, rest]))
        groups = torch.from_numpy(predicted[rest])
        held, new = statistic[:cut], statistic[cut:]
        grouped = GroupedMap.fit(held, groups[:cut], len(GROUPS), minimum=MINIMUM)
        yield Draw(
            RankMap.fit(held).p_values(new).numpy(),
            grouped.p_values(new, groups[cut:]).numpy(),
            predicted[rest[cut:]],
            true[rest[cut:]],
            predicted[rest[:cut]],
            grouped.parts.numpy(),
        )


def rates(found: list[Draw]) -> dict[str, dict[str, Rate]]:
    """Rates by kind of map and group, then by level; groups without rows are absent."""
    table: dict[str, dict[str, Rate]] = {}
    everything = [np.ones(len(draw.plain), dtype=bool) for draw in found]
    sizes = [len(draw.decision) for draw in found]
    table["all"] = _rates([d.plain for d in found], everything, sizes)
    for place, group in enumerate(GROUPS):
        true = [draw.true == place for draw in found]
        table[f"true {group}, one map"] = _rates([d.plain for d in found], true, None)
        predicted = [draw.predicted == place for draw in found]
        table[f"predicted {group}, one map"] = _rates([d.plain for d in found], predicted, None)
        sizes = [int((d.parts[d.decision] == d.parts[place]).sum()) for d in found]
        alone = all((d.parts == d.parts[place]).sum() == 1 for d in found)
        table[f"predicted {group}, own map"] = _rates(
            [d.grouped for d in found], predicted, sizes if alone else None
        )
    return {name: row for name, row in table.items() if row}


def _rates(
    p_values: list[Floats], rows: list[Flags], calibration: list[int] | None
) -> dict[str, Rate]:
    if not all(chosen.any() for chosen in rows):
        return {}
    table = {}
    for level in LEVELS:
        pairs = list(zip(p_values, rows, strict=True))
        alarms = [int((p[chosen] <= level + 1e-12).sum()) for p, chosen in pairs]
        totals = [int(chosen.sum()) for chosen in rows]
        shares = np.array(alarms) / np.array(totals)
        inside = float("nan")
        if calibration is not None:
            bounds = [alarm_interval(n, m, level) for n, m in zip(calibration, totals, strict=True)]
            hits = [low <= a <= high for a, (low, high) in zip(alarms, bounds, strict=True)]
            inside = float(np.mean(hits))
        low, high = np.quantile(shares, [0.05, 0.95])
        table[f"{level:g}"] = Rate(float(shares.mean()), float(low), float(high), inside)
    return table


def fuse_by(rule: str, least: float) -> Fuse:
    """Fusion of the members that pass the screen, mapped on the first rows."""

    def fuse(maps: Floats, wrong: Flags, rows: Floats) -> Floats:
        keep = passing(maps, wrong, least)
        return combined(maps[keep], rows[keep], rule)

    return fuse


def uncorrected(scores: Scores, places: list[int], num: int) -> dict[str, dict[str, float]]:
    """Mean false alarms of the fixed thresholds that need no second map, by rule and level.

    All held-out rows that the second map would take serve the first one instead.
    """
    from scipy import stats

    pool = np.concatenate([scores.val[places], scores.test[places]], axis=1)
    num_val, members = scores.val.shape[1], len(places)
    harmonic = float((1 / np.arange(1, members + 1)).sum())
    sums: dict[str, dict[str, list[float]]] = {}
    for seed in range(num):
        order = np.random.default_rng(seed).permutation(pool.shape[1])
        fitted = [RankMap.fit(torch.from_numpy(row[order[:num_val]])) for row in pool]
        new = torch.from_numpy(pool[:, order[num_val:]].copy())
        p = np.stack([one.p_values(row).numpy() for one, row in zip(fitted, new, strict=True)])
        steps = np.sort(p, axis=0) * members / np.arange(1, members + 1)[:, None]
        normal = stats.norm.isf(p).mean(axis=0) * np.sqrt(members)
        found = {
            "simes": steps.min(axis=0),
            "simes with the constant (BY)": steps.min(axis=0) * harmonic,
            "min_p (Bonferroni)": p.min(axis=0) * members,
            "fisher (chi-squared)": stats.chi2.sf(-2 * np.log(p).sum(axis=0), 2 * members),
            "stouffer (normal)": stats.norm.sf(normal),
        }
        for rule, values in found.items():
            for level in LEVELS:
                row = sums.setdefault(rule, {}).setdefault(f"{level:g}", [])
                row.append(float((values <= level + 1e-12).mean()))
    return {
        rule: {level: float(np.mean(found)) for level, found in rows.items()}
        for rule, rows in sums.items()
    }
