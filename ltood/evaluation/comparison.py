"""The ID test rows against one OOD set: ranked once, whatever is read from it.

Rows of an OOD set that carry a class label (`sc_label` of semantically coherent sets)
show an ID class: their scores count on the ID side, but they do not enter the accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS, ClassPrior
from ltood.metrics import (
    Judged,
    Ranking,
    accuracy,
    fpr_at_tpr,
    measure,
    measure_judged,
    ood_rows,
    rank,
)
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreSplit

Shares = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The ID test rows against one OOD set.

    Attributes:
        name: The set, without the prefix "ood_".
        test: ID test rows.
        relabelled: Rows of the set that show an ID class.
        ood: The other rows of the set.
    """

    name: str
    test: ScoreSplit
    relabelled: ScoreSplit
    ood: ScoreSplit

    @classmethod
    def of(cls, split_name: str, test: ScoreSplit, split: ScoreSplit) -> "Comparison":
        """Compare the test rows with the split of an OOD set.

        Args:
            split_name: Name of the split, such as "ood_svhn".
            test: ID test rows.
            split: Rows of the set.

        Raises:
            DataError: If every row of the set carries a class label.
        """
        is_ood = ood_rows(split.labels, split_name)
        name = split_name.removeprefix(OOD_PREFIX)
        return cls(name, test, _select(split, ~is_ood), _select(split, is_ood))

    @cached_property
    def id_scores(self) -> NDArray[np.float32]:
        """Scores of the ID side, test rows first, [N]."""
        return np.concatenate([self.test.scores, self.relabelled.scores])

    @cached_property
    def id_labels(self) -> NDArray[np.int64]:
        """Classes of the ID side, test rows first, [N]."""
        return np.concatenate([self.test.labels, self.relabelled.labels])

    @cached_property
    def ranking(self) -> Ranking:
        """Both sides sorted.

        Raises:
            DataError: If the scores cannot be ranked.
        """
        return rank(self.id_scores, self.ood.scores)

    @cached_property
    def threshold(self) -> float:
        """Scores from here on are flagged by the rule of `fpr95_ood_pos`."""
        return fpr_at_tpr.operating_point(self.ranking, positive="ood").threshold

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """All metrics in fractions, and the numbers of rows; None where one has no rows."""
        right = self.test.predictions == self.test.labels
        judged = Judged.of(self.ranking, self.test.scores, right)
        values: dict[str, Any] = {**measure(self.ranking), **measure_judged(judged)}
        values["num_id"] = self.ranking.num_id
        values["num_ood"] = self.ranking.num_ood
        values["num_relabelled"] = len(self.relabelled)
        return values

    def false_alarms(self, prior: ClassPrior) -> Shares:
        """Share of ID rows flagged at `threshold`, by group of their class.

        Returns:
            `all` (equal to `fpr95_ood_pos`), `many`, `medium` and `few`: fractions of the
            group's ID rows, relabelled rows included; None for a group without rows.

        Raises:
            DataError: If a label is not a class.
        """
        accuracy.check_classes(
            self.id_labels, prior.num_classes, f"ID labels compared with {self.name}"
        )
        flagged = self.id_scores >= self.threshold
        found = prior.groups()[self.id_labels]
        return {"all": _share(flagged), **{g: _share(flagged[found == g]) for g in GROUPS}}

    def missed_ood(self, prior: ClassPrior) -> Shares:
        """OOD rows below `threshold`, by group of the class they are taken for.

        Returns:
            `num_missed`, and for `many`, `medium` and `few` the fraction of the missed
            rows predicted as a class of the group; None where none is missed.

        Raises:
            DataError: If a prediction is not a class.
        """
        below = self.ood.predictions[self.ood.scores < self.threshold]
        accuracy.check_classes(below, prior.num_classes, f"predictions of {self.name}")
        found = prior.groups()[below]
        return {"num_missed": len(below), **{group: _share(found == group) for group in GROUPS}}


def joined(splits: Sequence[ScoreSplit]) -> ScoreSplit:
    """Rows of several splits one after the other."""
    columns = ("scores", "predictions", "labels", "ids")
    return ScoreSplit(*(np.concatenate([getattr(s, key) for s in splits]) for key in columns))


def _select(split: ScoreSplit, chosen: NDArray[np.bool_]) -> ScoreSplit:
    if chosen.all():
        return split
    return ScoreSplit(
        split.scores[chosen], split.predictions[chosen], split.labels[chosen], split.ids[chosen]
    )


def _share(chosen: NDArray[np.bool_]) -> float | None:
    return int(chosen.sum()) / len(chosen) if len(chosen) else None
