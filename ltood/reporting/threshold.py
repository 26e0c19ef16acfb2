"""The detector's threshold in the report: what it rests on, and what of each split it flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.prior import GROUPS
from ltood.evaluation.measures import Evaluation
from ltood.reporting.leaderboard import SLOTS
from ltood.reporting.tables import ABSENT, Cell, Row, percent

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Decision:
    """What is known of the detector that was made beside the scores.

    Attributes:
        description: Its description with `threshold`; None where there is no detector.
        words: What its threshold accepts and how far that can be relied on, or why there is none.
    """

    description: Mapping[str, Any] | None
    words: tuple[str, ...]


@dataclass(frozen=True)
class ThresholdPanel:
    """Section of the report on the threshold.

    Attributes:
        value: The threshold; None where there is no detector.
        words: Sentences for the reader.
        rows: Share flagged, by split: of all of it, then by class group.
    """

    value: float | None
    words: list[str]
    rows: list[Row]


def threshold_panel(evaluation: Evaluation, decision: Decision) -> ThresholdPanel:
    """The section.

    Args:
        evaluation: Scores with their metrics.
        decision: The detector of the same features and entries.

    Raises:
        DataError: If the detector was made of other features or by other entries.
    """
    words = [
        f"{text[0].upper()}{text[1:]}{'' if text[-1] in '.)' else '.'}" for text in decision.words
    ]
    found = decision.description
    if found is None:
        return ThresholdPanel(None, words, [])
    scored = evaluation.scores.attributes
    if not is_of(found, scored):
        said = [
            f"{of['method']['name']} on features {str(of.get('features_fingerprint'))[:12]}…"
            for of in (found, scored)
        ]
        raise DataError(
            f"the detector was made by {said[0]} but the scores by {said[1]}, or their settings "
            "differ; run the export stage again."
        )
    value, test = float(found["threshold"]["value"]), evaluation.test
    groups = evaluation.prior.groups()[test.labels]
    by_group = [_flagged(test.scores[groups == group], value) for group in GROUPS]
    rows = [Row("test", [_flagged(test.scores, value), *by_group])]
    none = [Cell(ABSENT)] * len(GROUPS)
    rows += [
        Row(item.name, [_flagged(item.ood.scores, value), *none]) for item in evaluation.comparisons
    ]
    return ThresholdPanel(value, words, rows)


def is_of(description: Mapping[str, Any], scored: Mapping[str, Any]) -> bool:
    """Whether a detector was made of the features, and by the entries, of some scores."""
    return bool(description["features_fingerprint"] == scored.get("features_fingerprint")) and all(
        description[slot][key] == scored[slot][key]
        for slot in SLOTS
        for key in ("name", "settings")
    )


def _flagged(scores: Scores, value: float) -> Cell:
    share = float(np.mean(scores > value)) if len(scores) else None
    return Cell(percent(share, "the share that is flagged"))
