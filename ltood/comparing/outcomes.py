"""Outcome of each row of a comparison: a result, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.comparing.plan import Combination
from ltood.comparing.timing import Timing
from ltood.core.outcomes import Failed


@dataclass(frozen=True)
class Ok:
    """The result of one combination.

    Attributes:
        settings: All settings by slot.
        derived: What fitting derived from data, by slot.
        metrics: Sections of metrics, as in metrics.json, with `false_alarms` by class group.
        calibrate: Time of the calibrator, the same for all rows behind it.
        fit: Time of fitting the method, the same for all rows with its scores.
        score: Time of scoring with the method, the same for all rows with its scores.
        normalise: Time of the normaliser.
    """

    settings: Mapping[str, Any]
    derived: Mapping[str, Any]
    metrics: Mapping[str, Any]
    calibrate: Timing
    fit: Timing
    score: Timing
    normalise: Timing


Outcome = Ok | Failed


def leaderboard(
    outcomes: Mapping[Combination, Outcome], named: frozenset[Combination]
) -> dict[str, Any]:
    """Rows in the order of `compare`'s result.

    Args:
        outcomes: Outcome of each combination.
        named: Combinations that the user named; of these, one that does not fit has failed.
    """
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for combination, outcome in outcomes.items():
        names = {"title": combination.title, **combination._asdict()}
        if isinstance(outcome, Ok):
            done.append(
                {
                    **names,
                    "status": "ok",
                    **outcome.metrics,
                    "settings": outcome.settings,
                    "in_use": outcome.derived,
                }
            )
        elif outcome.is_unfit and combination not in named:
            left_out.append({**names, "status": "left out", "reason": outcome.reason})
        else:
            failed.append({**names, "status": "failed", "reason": outcome.reason})
    done.sort(key=lambda line: -line["mean"]["auroc"])
    return {
        "auroc": {line["title"]: line["mean"]["auroc"] for line in done},
        "rows": [*done, *failed],
        "left_out": left_out,
    }


def timings(outcomes: Mapping[Combination, Outcome]) -> Sequence[dict[str, Any]]:
    """Seconds of each row that did not fail."""
    return [
        {
            "title": combination.title,
            **combination._asdict(),
            "calibrate_seconds": row.calibrate.own + row.calibrate.shared,
            "fit_seconds": row.fit.own,
            "fit_shared_seconds": row.fit.shared,
            "score_seconds": row.score.own + row.normalise.own,
            "score_shared_seconds": row.score.shared + row.normalise.shared,
        }
        for combination, row in outcomes.items()
        if isinstance(row, Ok)
    ]
