"""What members, their number, copies, noise and calibration rows do to an ensemble."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.ensembles_level import LEVELS, Fuse
from benchmarks.ensembles_scores import Scores
from benchmarks.ensembles_statistics import bootstrap_weights, resampled_auroc
from benchmarks.ensembles_study import (
    Floats,
    Parts,
    ensemble_scores,
    members_of,
    regret,
    results,
    screened,
)

SIZES = (1, 2, 3, 5, 8, 12, 20)
ADDED = (0, 1, 4, 16)
CALIBRATION = (50, 100, 250, 500, 1000, 2500)


@dataclass(frozen=True)
class Outcome:
    """Mean AUROC and worst regret of one variant on one feature set, points."""

    mean: float
    worst: float


def _outcome(parts: Parts, rule: str, least: float, singles: dict[str, Floats]) -> Outcome:
    found = results(*ensemble_scores(screened(parts, least), rule))
    return Outcome(float(found[:, 0].mean()), float(regret(found, singles).max()))


def random_members(
    whole: Parts, rule: str, singles: dict[str, Floats], draws: int
) -> dict[int, Outcome]:
    """Mean over random sets of members of every size; the last size is all of them."""
    pool = len(whole.maps)
    random = np.random.default_rng(0)
    table = {}
    for size in (*(s for s in SIZES if s < pool), pool):
        found = []
        for _ in range(draws if size < pool else 1):
            chosen = random.choice(pool, size, replace=False)
            reached = results(*ensemble_scores(members_of(whole, chosen), rule))
            found.append((reached[:, 0].mean(), regret(reached, singles).max()))
        mean, worst = np.mean(found, axis=0)
        table[size] = Outcome(float(mean), float(worst))
    return table


def _extended(parts: Parts, extra: Iterator[Floats]) -> Parts:
    """Members with further rows of scores for maps, decision, test and each OOD set in turn."""
    maps, decision, test = (
        np.concatenate([rows, next(extra)]) for rows in (parts.maps, parts.decision, parts.test)
    )
    ood = {name: np.concatenate([rows, next(extra)]) for name, rows in parts.ood.items()}
    return replace(parts, maps=maps, decision=decision, test=test, ood=ood)


def useless_members(
    parts: Parts, rule: str, least: float, singles: dict[str, Floats]
) -> dict[int, Outcome]:
    """With members that are noise, by their number."""
    table = {}
    for added in ADDED:
        random = np.random.default_rng(added)
        shapes = (parts.maps, parts.decision, parts.test, *parts.ood.values())
        noise = (random.normal(size=(added, rows.shape[1])) for rows in shapes)
        table[added] = _outcome(_extended(parts, noise), rule, least, singles)
    return table


def copied_member(
    parts: Parts, place: int, rule: str, least: float, singles: dict[str, Floats]
) -> dict[int, Outcome]:
    """With copies of one member, by their number."""
    table = {}
    for added in ADDED:
        splits = (parts.maps, parts.decision, parts.test, *parts.ood.values())
        copies = (np.repeat(rows[place : place + 1], added, axis=0) for rows in splits)
        table[added] = _outcome(_extended(parts, copies), rule, least, singles)
    return table


def map_rows(
    parts: Parts, rule: str, least: float, singles: dict[str, Floats], draws: int
) -> dict[int, Outcome]:
    """Mean over random rows for the maps, by their number n_A; the members take all val rows."""
    table = {}
    for size in (size for size in CALIBRATION if size <= parts.maps.shape[1]):
        found = []
        for seed in range(draws):
            rows = np.random.default_rng(seed).permutation(parts.maps.shape[1])[:size]
            few = replace(parts, maps=parts.maps[:, rows], wrong=parts.wrong[rows])
            one = _outcome(few, rule, least, singles)
            found.append((one.mean, one.worst))
        mean, worst = np.mean(found, axis=0)
        table[size] = Outcome(float(mean), float(worst))
    return table


def decision_rows(
    scores: Scores, members: Sequence[str], fuse: Fuse, draws: int
) -> dict[int, dict[str, tuple[float, float]]]:
    """Mean and standard deviation of realised false alarms, by n_B and level."""
    places = [scores.row(title) for title in members]
    pool = np.concatenate([scores.val[places], scores.test[places]], axis=1)
    wrong = np.concatenate([scores.predictions[s] != scores.labels[s] for s in ("val", "test")])
    maps = scores.val.shape[1] // 2
    shares: dict[int, list[list[float]]] = {
        size: [] for size in CALIBRATION if size <= scores.val.shape[1]
    }
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(pool.shape[1])
        first, rest = order[:maps], order[maps:]
        statistic = fuse(pool[:, first], wrong[first], pool[:, rest])
        for size, found in shares.items():
            held, new = np.sort(statistic[:size]), statistic[size:]
            p = (1 + size - np.searchsorted(held, new)) / (size + 1)
            found.append([float((p <= level + 1e-12).mean()) for level in LEVELS])
    return {
        size: {
            f"{level:g}": (float(np.mean(column)), float(np.std(column)))
            for level, column in zip(LEVELS, np.transpose(found), strict=True)
        }
        for size, found in shares.items()
    }


def difference(
    test: tuple[Floats, Floats], ood: Sequence[tuple[Floats, Floats]], draws: int = 500
) -> tuple[float, float, float]:
    """Mean AUROC of the first detector less the second, points, with its 95 % interval.

    Rows are drawn anew, the same for both detectors; the ID rows are the same for all OOD sets.

    Args:
        test: Scores of ID test rows by each detector.
        ood: The same for every OOD set.
        draws: Bootstrap draws.
    """
    found = np.zeros(draws)
    exact = 0.0
    weights = bootstrap_weights(len(test[0]), draws, 0)
    for place, (first, second) in enumerate(ood):
        drawn = bootstrap_weights(len(first), draws, place + 1)
        ones = np.ones((1, len(test[0]))), np.ones((1, len(first)))
        for sign, own, other in ((1, test[0], first), (-1, test[1], second)):
            found += sign * resampled_auroc(own, other, weights, drawn)
            exact += sign * float(resampled_auroc(own, other, *ones)[0])
    low, high = np.quantile(found, [0.025, 0.975]) * 100 / len(ood)
    return 100 * exact / len(ood), float(low), float(high)
