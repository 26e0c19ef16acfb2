"""Result files that a report takes over, refused where they belong to other scores."""

from pathlib import Path
from typing import Any

from ltood.core.errors import DataError
from ltood.evaluation.binding import read_bound
from ltood.evaluation.measures import Evaluation


def read_metrics(path: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Metrics that the evaluate stage wrote for these scores.

    Raises:
        DataError: If the file is missing, edited, or was made from other scores.
    """
    return read_bound(path, "evaluate", scores=evaluation.fingerprint)


def read_leaderboard(path: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Leaderboard that the compare stage wrote for the features of these scores.

    Raises:
        DataError: If the file is missing, edited, or was made from other features.
    """
    features = evaluation.scores.attributes.get("features_fingerprint")
    if not isinstance(features, str):
        raise DataError(
            "the scores do not record the features they were made from, so no leaderboard can be "
            "checked against them; run the score stage again."
        )
    return read_bound(path, "compare", features=features)
