"""Figures of a table: means over seeds with their deviations, and rows against one another.

The interval of a difference covers both what the choice of seeds and what the choice of images
moves: seeds are drawn with replacement, and within each drawn seed the rows of every split; both
rows of a pair see the same draws.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.comparing.scores import ComparedScores
from ltood.metrics import METRICS, Ranking, ood_rows, rank
from ltood.store.layout import OOD_PREFIX

_SAMPLES = 500
_ID_SPLIT = "test"


@dataclass(frozen=True)
class Figure:
    """A mean over seeds in fractions.

    Attributes:
        mean: The mean.
        std: Standard deviation over the seeds; None of a single one.
        values: Value of each seed.
    """

    mean: float
    std: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Figure of at least one value."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), std, tuple(values))


@dataclass(frozen=True)
class Difference:
    """How much better one row is than another, in fractions.

    Attributes:
        mean: Mean difference over the seeds, above 0 where the first is better.
        low: 2.5 percentile over the draws.
        high: 97.5 percentile over the draws.
    """

    mean: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def places_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Sections of metrics of a leaderboard's row: "" all sets, "@near" a group, "/svhn" a set."""
    found = {"": row["mean"]}
    found |= {f"@{name}": values for name, values in row.get("groups", {}).items()}
    found |= {f"/{name}": values for name, values in row["ood"].items()}
    if "full_spectrum" in row:
        found["@full spectrum"] = row["full_spectrum"]["mean"]
    return found


def value_of(row: Mapping[str, Any], key: str, place: str = "") -> float | None:
    """A metric of a leaderboard's row; those of ID rows have no place."""
    if key in row["id"]:
        found = row["id"][key] if place == "" else None
    else:
        found = places_of(row).get(place, {}).get(key)
    return None if found is None else float(found)


class Drawn:
    """Scores of one row of a table with one seed, ready to be drawn again and again."""

    def __init__(self, scores: ComparedScores, title: str) -> None:
        """Take the scores of a row.

        Raises:
            CorruptStoreError: If a file is damaged.
        """
        row = scores.titles.index(title)
        test = scores.split(row, _ID_SPLIT)
        self.rows = len(test)
        self.sets: list[tuple[str, Ranking, tuple[NDArray[np.int64], ...]]] = []
        for name in scores.splits:
            if not name.startswith(OOD_PREFIX):
                continue
            split = scores.split(row, name)
            is_ood = ood_rows(split.labels, name)
            relabelled, outliers = split.scores[~is_ood], split.scores[is_ood]
            ranking = rank(np.concatenate([test.scores, relabelled]), outliers)
            levels = tuple(map(ranking.levels, (test.scores, relabelled, outliers)))
            self.sets.append((name, ranking, levels))

    def draw(self, key: str, seed: Sequence[int]) -> float:
        """Mean of a metric over the OOD sets, of rows drawn by a seed.

        Rows with the same numbers are drawn for every row of a table with that seed.
        """
        chosen = np.random.default_rng([*seed]).integers(0, self.rows, self.rows)
        drawn = []
        for name, ranking, (test, relabelled, outliers) in self.sets:
            own = np.random.default_rng([*seed, zlib.crc32(name.encode())])
            number = len(ranking.thresholds)
            known = np.bincount(test[chosen], minlength=number)
            known += _redrawn(relabelled, number, own)
            ood = _redrawn(outliers, number, own)
            drawn.append(METRICS[key].function(replace(ranking, id_counts=known, ood_counts=ood)))
        return float(np.mean(drawn))


def _redrawn(levels: NDArray[np.int64], number: int, own: np.random.Generator) -> NDArray[np.int64]:
    if len(levels) == 0:
        return np.zeros(number, dtype=np.int64)
    return np.bincount(levels[own.integers(0, len(levels), len(levels))], minlength=number)


def differences(
    first: Sequence[Drawn],
    others: Mapping[str, Sequence[Drawn]],
    key: str = "auroc",
    *,
    samples: int = _SAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """How much better a row is than each of some others, paired by seed and by image.

    Args:
        first: Scores of the row, one for each seed.
        others: The same of the others by name, seeds in the same order.
        key: Metric; the mean over the OOD sets.
        samples: Number of draws.
        seed: Equal seeds give equal intervals.
    """
    seeds = len(first)
    sign = 1 if METRICS[key].higher_is_better else -1
    own = np.empty((samples, seeds))
    drawn = {name: np.empty((samples, seeds)) for name in others}
    plans = np.random.default_rng(seed).integers(0, seeds, (samples, seeds))
    for sample, plan in enumerate(plans):
        for column, place in enumerate(plan):
            state = [seed, sample, column]
            own[sample, column] = first[place].draw(key, state)
            for name, rows in others.items():
                drawn[name][sample, column] = rows[place].draw(key, state)
    found = {}
    for name, values in drawn.items():
        gaps = sign * (own - values).mean(axis=1)
        low, high = np.quantile(gaps, [0.025, 0.975]).tolist()
        found[name] = Difference(float(gaps.mean()), low, high)
    return found
