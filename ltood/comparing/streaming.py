"""Rows of methods that score streams: each plays its own streams, apart from the shared reading."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltood.comparing.fitting import Failures, FittedMethod, View
from ltood.comparing.outcomes import Ok
from ltood.comparing.plan import Combination
from ltood.comparing.timing import Timer
from ltood.core.outcomes import Failed, attempt
from ltood.core.streams import StreamMethod
from ltood.evaluation.config import SetGroups
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.orders import RECORD, over_orders
from ltood.scoring.session import ScoringSession
from ltood.scoring.streams import Played, play
from ltood.store.scores import ScoreSplit


@dataclass(frozen=True)
class _Scores:
    """Scores of streams as evaluation reads them."""

    played: Played
    attributes: dict[str, Any]

    @property
    def splits(self) -> list[str]:
        return list(self.played.splits)

    def split(self, name: str, /) -> ScoreSplit:
        return self.played.splits[name]


def apart(views: Sequence[View]) -> tuple[list[View], list[View]]:
    """The views with the methods that score row by row, and those with the others.

    Views without methods are left out.
    """
    rows, streams = [], []
    for view in views:
        plays = [isinstance(method.slot.entry, StreamMethod) for method in view.methods]
        parts = {
            one: [m for m, p in zip(view.methods, plays, strict=True) if p == one]
            for one in (False, True)
        }
        rows += [replace(view, methods=parts[False])] if parts[False] else []
        streams += [replace(view, methods=parts[True])] if parts[True] else []
    return rows, streams


def play_all(
    views: Sequence[View], groups: SetGroups, timer: Timer
) -> tuple[dict[Combination, Ok], Failures]:
    """Results of all methods that score streams, and those that failed.

    Args:
        views: Views with such methods alone.
        groups: OOD sets over which further means are taken.
        timer: Where seconds are counted.
    """
    done: dict[Combination, Ok] = {}
    failures: Failures = {}
    for view in views:
        for method in view.methods:
            with timer.add_to(method.score):
                found = attempt((), _metrics, view.session, method, groups)
            for row in method.rows:
                if isinstance(found, Failed):
                    failures[row.combination] = found
                    continue
                done[row.combination] = Ok(
                    view.settings(method, row),
                    view.derived(method, row),
                    found,
                    view.needs(method, row),
                    view.time,
                    method.fit,
                    method.score,
                    row.time,
                )
    return done, failures


def _metrics(session: ScoringSession, method: FittedMethod, groups: SetGroups) -> dict[str, Any]:
    """Sections as `Evaluation.metrics` has them, with false alarms by class group."""
    entry, store = method.slot.entry, session.store
    assert isinstance(entry, StreamMethod)  # So `apart` chose.
    played = play(session, entry, method.slot.name, ["test", *store.ood_splits])
    attributes = {RECORD: played.record, "class_counts": store.prior().counts}
    evaluation = Evaluation(_Scores(played, attributes), groups)
    assert evaluation.orders is not None
    alarms = over_orders(evaluation.by_order, evaluation.orders, groups, evaluation.prior)
    return {**evaluation.metrics, **alarms}
