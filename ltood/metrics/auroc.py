"""AUROC: the chance that a random OOD row scores higher than a random ID row.

Ties count one half (the Mann-Whitney statistic), so the value equals the area under
the ROC curve with straight lines between its points. It is the same whichever side is
called positive. Hanley and McNeil, "The Meaning and Use of the Area under a Receiver
Operating Characteristic (ROC) Curve", Radiology 1982.
"""

from numpy.typing import ArrayLike

from ltood.metrics._ranking import Ranking, rank

HIGHER_IS_BETTER = True
UNIT = "fraction"


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area under the ROC curve; 0.5 is guessing, 1 is perfect.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        ood_scores: Scores of OOD rows, [M].

    Returns:
        A fraction, 0 to 1.

    Raises:
        DataError: If the scores cannot be ranked.
    """
    return from_ranking(rank(id_scores, ood_scores))


def from_ranking(ranking: Ranking) -> float:
    """AUROC of rows that are sorted already."""
    num_id, num_ood = ranking.num_id, ranking.num_ood
    id_below = num_id - ranking.id_counts.cumsum()
    # Twice the wins, so that a tie is one and the sum stays a whole number: no rounding
    # before the division, however many rows.
    doubled = int((ranking.ood_counts * (2 * id_below + ranking.id_counts)).sum())
    return doubled / (2 * num_id * num_ood)
