"""Which rows show a detector's clearest errors: by their scores alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.evaluation.measures import Evaluation
from ltood.metrics import ood_rows
from ltood.store.examples import Kind
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreSplit

#: Errors of each OOD set and of each class group.
PER_GROUP = 8
#: Errors of all of them: with many OOD sets each shows fewer, so that the page stays small.
MOST = 120


@dataclass(frozen=True)
class Chosen:
    """Rows of one split that show one kind of error.

    Attributes:
        kind: Kind of error.
        name: The OOD set, or the class group.
        split: Name of the split.
        rows: Row numbers, clearest error first, [n].
        shares: Share of the other side that each score is beyond, [n]; NaN where nothing is on it.
        total: Rows that could have been chosen.
        scores: Scores of the split.
    """

    kind: Kind
    name: str
    split: str
    rows: NDArray[np.int64]
    shares: NDArray[np.float64]
    total: int
    scores: ScoreSplit


def clearest_errors(evaluation: Evaluation) -> Iterator[Chosen]:
    """OOD rows with the lowest scores by set, then ID rows with the highest by class group.

    Args:
        evaluation: Scores of the test split and of OOD sets.

    Raises:
        StoreError: If the test split or the class counts are missing.
        DataError: If labels break a rule.
    """
    test, prior, scores = evaluation.test, evaluation.prior, evaluation.scores
    sets = [name for name in scores.splits if name.startswith(OOD_PREFIX)]
    each = max(1, min(PER_GROUP, MOST // (len(sets) + len(GROUPS))))
    known, outliers = np.sort(test.scores), []
    for name in sets:
        split = scores.split(name)
        rows = np.flatnonzero(ood_rows(split.labels, name))
        own = split.scores[rows]
        outliers.append(own)
        chosen = rows[np.argsort(own, kind="stable")[:each]]
        above = len(known) - np.searchsorted(known, split.scores[chosen], "right")
        set_name = name.removeprefix(OOD_PREFIX)
        yield Chosen("missed", set_name, name, chosen, above / len(known), len(rows), split)
    pool = np.sort(np.concatenate(outliers)) if outliers else np.empty(0, dtype=np.float32)
    group_of = prior.groups()[test.labels]
    for group in GROUPS:
        rows = np.flatnonzero(group_of == group)
        chosen = rows[np.argsort(-test.scores[rows], kind="stable")[:each]]
        below = np.searchsorted(pool, test.scores[chosen], "left")
        shares = below / len(pool) if len(pool) else np.full(len(chosen), np.nan)
        if len(rows):
            yield Chosen("false_alarm", group, "test", chosen, shares, len(rows), test)
