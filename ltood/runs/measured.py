"""One run measured: metrics, draws and curves, so that its scores can be let go."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.evaluation.comparison import Comparison
from ltood.evaluation.intervals import Draws, draws, uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.metrics import curves
from ltood.runs.run import Run
from ltood.runtime.console import progress
from ltood.store.scores import ScoreSplit

Values = NDArray[np.floating[Any]]
#: Enough for a figure of this size.
POINTS = 240
#: Settings of a dataset that choose no test row.
_OF_TRAINING = ("imbalance", "aux", "val", "num_max", "shots", "ood")


@dataclass(frozen=True)
class _Rows:
    """Which rows a run was measured on.

    Attributes:
        test: Name of its test rows.
        ood: Name of the rows of the compared OOD sets; None where it has no such set.
    """

    test: str
    ood: str | None

    def agree(self, other: "_Rows") -> bool:
        """Whether rows are equal as far as both have them."""
        same_sets = None in (self.ood, other.ood) or self.ood == other.ood
        return self.test == other.test and same_sets


@dataclass(frozen=True)
class SetCurves:
    """What figures show of one run and one OOD set.

    Attributes:
        roc: ID rows flagged over OOD rows caught.
        bins: Borders of the bins of scores, [B + 1].
        id_shares: Share of the ID rows in each bin, [B].
        ood_shares: Share of the OOD rows in each bin, [B].
    """

    roc: curves.Curve
    bins: Values
    id_shares: Values
    ood_shares: Values


@dataclass(frozen=True)
class Measured:
    """What a comparison keeps of a run.

    Attributes:
        run: The run; its scores are not read again.
        metrics: Content of metrics.json.
        alarms: Share of ID rows flagged at 95 % OOD recall by class group, mean over the sets;
            empty without sets.
        rows: Number of the set of rows that it was measured on: equal rows, equal number; None
            where there are no scores.
        draws: Drawn values; None where rows depend on one another, or there are no scores.
        spread: Intervals, or deviations over orders; None where there are no scores.
        curves: Curves by OOD set; empty where there are no scores.
    """

    run: Run
    metrics: Mapping[str, Any]
    alarms: Mapping[str, float | None]
    rows: int | None
    draws: Draws | None
    spread: Mapping[str, Any] | None
    curves: Mapping[str, SetCurves]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.run.name


def shared_sets(runs: Sequence[Run]) -> list[str]:
    """OOD sets that all runs which have any were measured on, in the order of the first of them.

    Empty where no run has any.

    Raises:
        DataError: If runs have OOD sets, and there is none that all of these have.
    """
    having = [run for run in runs if run.sets]
    first = having[0].sets if having else []
    shared = [name for name in first if all(name in run.sets for run in having)]
    if having and not shared:
        listed = "; ".join(f"{run.name}: {', '.join(run.sets)}" for run in having)
        raise DataError(
            f"the runs have no OOD set in common ({listed}); name the same sets in the setting "
            "datasets.<name>.ood of each and run it again, or compare others."
        )
    return shared


def measured_all(runs: list[Run], sets: Sequence[str], samples: int) -> list[Measured]:
    """Measure runs one by one; equal rows see equal draws, which pairs them.

    Args:
        runs: All runs; the list is empty afterwards, so that the scores of one are held at a time.
        sets: OOD sets that are compared.
        samples: Draws of each interval.
    """
    known: list[_Rows] = []
    found = []
    with progress("runs", len(runs), "runs") as advance:
        while runs:
            run = runs.pop(0)
            rows = None if run.evaluation is None else _rows_of(run.evaluation, run.settings, sets)
            number = None if rows is None else _number(rows, known)
            found.append(measured(run, sets, number, samples=samples))
            advance(1)
    return found


def _number(rows: _Rows, known: list[_Rows]) -> int:
    """Place of equal rows among those that are known, to which new ones are added."""
    for place, other in enumerate(known):
        if rows.agree(other):
            known[place] = rows if other.ood is None else other
            return place
    known.append(rows)
    return len(known) - 1


def _rows_of(evaluation: Evaluation, settings: Mapping[str, Any], sets: Sequence[str]) -> _Rows:
    """Names for the rows of a run, the same for equal rows.

    Rows are equal if ids and labels of the test split and of every OOD set are, and nothing that
    is recorded of the data says that the same ids are other images.
    """
    known = {
        key: value
        for key, value in settings.items()
        if key == "dataset"
        or (key.startswith("datasets.") and not key.split(".")[2].startswith(_OF_TRAINING))
    }
    data = json.dumps(known, sort_keys=True, default=str)
    splits: list[tuple[str, ScoreSplit]] = []
    for item in evaluation.comparisons:
        if item.name in sets:
            splits += [(item.name, item.relabelled), (f"{item.name} ood", item.ood)]
    ood = _name_of(data, splits) if splits else None
    return _Rows(_name_of(data, [("test", evaluation.test)]), ood)


def _name_of(data: str, splits: Sequence[tuple[str, ScoreSplit]]) -> str:
    found = hashlib.sha256(data.encode())
    for name, rows in splits:
        found.update(f"{name} {len(rows)}\n".encode())
        found.update(np.ascontiguousarray(rows.ids).tobytes())
        found.update(np.ascontiguousarray(rows.labels).tobytes())
    return found.hexdigest()


def measured(run: Run, sets: Sequence[str], rows: int | None, *, samples: int) -> Measured:
    """Measure a run.

    Args:
        run: The run.
        sets: OOD sets whose curves are kept.
        rows: Number of its rows. Equal numbers see equal draws, which pairs runs; what is not
            paired is drawn apart.
        samples: Draws of each interval.
    """
    evaluation = run.evaluation
    if evaluation is None:
        return Measured(run, run.measures, {}, None, None, None, {})
    is_stream = evaluation.orders is not None
    drawn = None if is_stream else draws(evaluation, samples=samples, seed=rows or 0)
    shown = {item.name: _curves(item) for item in evaluation.comparisons if item.name in sets}
    alarms = [evaluation.false_alarms[name] for name in sets if name in run.sets]
    groups = alarms[0] if alarms else ()
    spread = uncertainty(evaluation) if is_stream else None
    return Measured(
        Run(run.name, run.source, run.date, run.settings, None, evaluation.metrics),
        evaluation.metrics,
        {group: _mean([shares[group] for shares in alarms]) for group in groups},
        rows,
        drawn,
        spread,
        shown,
    )


def _curves(item: Comparison) -> SetCurves:
    bins, (id_shares, ood_shares) = curves.histograms([item.id_scores, item.ood.scores])
    roc = curves.roc(item.ranking, positive="ood", max_points=POINTS)
    return SetCurves(roc, bins, id_shares, ood_shares)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
