"""Outcome of each row of a comparison: a result, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltood.comparing.plan import Combination
from ltood.comparing.timing import Timing
from ltood.core.outcomes import Failed
from ltood.evaluation.delong import AurocSpread


@dataclass(frozen=True)
class Ok:
    """The result of one combination.

    Attributes:
        settings: All settings by slot.
        derived: What fitting derived from data, by slot.
        metrics: Sections of metrics, as in metrics.json, with `false_alarms` by class group.
        needs: Names of what its entries need beyond the rows they score, such as "aux".
        calibrate: Time of the calibrator, the same for all rows behind it.
        fit: Time of fitting the method, the same for all rows with its scores.
        score: Time of scoring with the method, the same for all rows with its scores.
        normalise: Time of the normaliser.
    """

    settings: Mapping[str, Any]
    derived: Mapping[str, Any]
    metrics: Mapping[str, Any]
    needs: Sequence[str]
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
                    "needs": list(outcome.needs),
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


def with_intervals(
    done: Mapping[Combination, Ok], spread: AurocSpread[Combination]
) -> dict[Combination, Ok]:
    """Results with the section `uncertainty`; see `AurocSpread.of`."""
    if not done:
        return {}
    found = spread.of({row: outcome.metrics["mean"]["auroc"] for row, outcome in done.items()})
    return {
        row: replace(outcome, metrics={**outcome.metrics, "uncertainty": found[row]})
        for row, outcome in done.items()
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
