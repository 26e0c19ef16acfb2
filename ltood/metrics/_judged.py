"""Right and wrong predictions beside the ranking: the input of metrics that judge both.

A detector and a classifier work together: an accepted row can still be classified wrongly. Such
metrics need how many rightly classified, wrongly classified and OOD rows lie at each distinct
score. Relabelled rows of an OOD set (`sc_label`) take part in the ranking, but have no prediction
that counts.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import DataError
from ltood.metrics._ranking import Counts, Ranking, Values, rank


@dataclass(frozen=True)
class Judged:
    """Rows by distinct score and by what the classifier made of them.

    Attributes:
        ranking: Both sides; relabelled rows are among the ID rows.
        right: ID test rows that are classified rightly, [T] int64.
        wrong: The other ID test rows, [T] int64.
    """

    ranking: Ranking
    right: Counts
    wrong: Counts

    @classmethod
    def of(cls, ranking: Ranking, scores: Values, is_right: NDArray[np.bool_]) -> "Judged":
        """Judge the ID test rows of a ranking.

        Args:
            ranking: Both sides sorted.
            scores: Scores of the ID test rows, [N]; all of them ranked.
            is_right: Whether the predicted class is right, [N].

        Raises:
            DataError: If there are not as many scores as judgements.
        """
        if scores.shape != is_right.shape:
            raise DataError(
                f"there are {len(scores)} ID scores and {len(is_right)} judgements of predictions; "
                "give one for each ID row."
            )
        levels, number = ranking.levels(scores), len(ranking.thresholds)
        right = np.bincount(levels[is_right], minlength=number)
        return cls(ranking, right, np.bincount(levels, minlength=number) - right)

    def against_ood(self, chosen: Counts) -> Ranking | None:
        """Only these ID rows against the OOD rows; None where there is none."""
        return replace(self.ranking, id_counts=chosen) if chosen.any() else None


def judge(id_scores: ArrayLike, is_right: ArrayLike, ood_scores: ArrayLike) -> Judged:
    """Sort both sides and judge the ID rows.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        is_right: Whether the predicted class of each is right, [N] bool.
        ood_scores: Scores of OOD rows, [M].

    Raises:
        DataError: If the scores cannot be ranked, or there are not N judgements.
    """
    ranking = rank(id_scores, ood_scores)
    return Judged.of(ranking, np.asarray(id_scores), np.asarray(is_right, dtype=np.bool_))
