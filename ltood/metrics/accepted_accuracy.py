"""Accuracy of the ID rows that are accepted at a wanted FPR or TPR: ACC@FPRn and ACC@TPRn.

PASCL (Wang et al., ICML 2022) and EAT print it: a detector that turns away hard ID images raises
it, one that turns away easy ones lowers it. The side to be found is OOD. The threshold is the one
whose FPR (TPR) is nearest to the wanted level, of equally near ones the strictest; as in their
code, thresholds inside a straight part of the ROC curve are passed over (scikit-learn's
`roc_curve` drops them), and a row is accepted at `score <= threshold`. The level 1e-4, which they
print as 0, can be nearest to the end where nothing is flagged: then all rows are accepted.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ltood.core.errors import ConfigError
from ltood.metrics._judged import Judged, judge
from ltood.metrics._ranking import Counts

HIGHER_IS_BETTER = True
UNIT = "fraction"

Rate = Literal["fpr", "tpr"]


def accepted_accuracy(
    id_scores: ArrayLike, is_right: ArrayLike, ood_scores: ArrayLike, level: float, *, rate: Rate
) -> float | None:
    """Accuracy among the ID rows that are accepted at the threshold of a level.

    Args:
        id_scores: Scores of ID rows, [N]; higher means more OOD.
        is_right: Whether the predicted class of each is right, [N] bool.
        ood_scores: Scores of OOD rows, [M].
        level: Wanted rate, 0 to 1.
        rate: "fpr", ID rows that are flagged, or "tpr", OOD rows that are flagged.

    Returns:
        A fraction; None where no ID row is accepted.

    Raises:
        ConfigError: If `level` or `rate` is out of range.
        DataError: If the scores cannot be ranked, or there are not N judgements.
    """
    return from_judged(judge(id_scores, is_right, ood_scores), level, rate=rate)


def from_judged(judged: Judged, level: float, *, rate: Rate) -> float | None:
    """Accuracy of accepted rows that are sorted already.

    Raises:
        ConfigError: If `level` or `rate` is out of range.
    """
    if not 0 <= level <= 1 or rate not in ("fpr", "tpr"):
        raise ConfigError(f"rate is {rate!r} at level {level}; set 'fpr' or 'tpr', and 0 to 1.")
    sweep = judged.ranking.sweep("ood")
    kept = np.append(True, _bends(sweep.hits) | _bends(sweep.false_alarms))
    counts = np.append(0, sweep.false_alarms if rate == "fpr" else sweep.hits)
    corners = np.flatnonzero(kept)
    chosen = int(corners[np.argmin(np.abs(counts[corners] / counts[-1] - level))])
    # Position 0 flags nothing; position k flags all down to score k - 1, whose rows count as
    # accepted too: the official code compares with `<=` on both sides.
    first = max(chosen - 1, 0)
    right, wrong = int(judged.right[first:].sum()), int(judged.wrong[first:].sum())
    return right / (right + wrong) if right + wrong else None


def _bends(counts: Counts) -> NDArray[np.bool_]:
    """Whether the curve bends at each threshold; both ends are kept."""
    ends = np.ones(len(counts), dtype=np.bool_)
    if len(counts) > 2:
        ends[1:-1] = np.diff(counts, 2) != 0
    return ends
