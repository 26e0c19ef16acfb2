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
from ltood.runs.sources import Run
from ltood.runtime.console import progress

Values = NDArray[np.floating[Any]]
#: Enough for a figure of this size.
POINTS = 240
#: Settings of a dataset that choose no test row.
_OF_TRAINING = ("imbalance", "aux", "val", "num_max", "shots", "ood")


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
        rows: Name of the set of rows that it was measured on: equal rows, equal name.
        draws: Drawn values; None where rows depend on one another, or there are no scores.
        spread: Intervals, or deviations over orders; None where there are no scores.
        curves: Curves by OOD set; empty where there are no scores.
    """

    run: Run
    metrics: Mapping[str, Any]
    alarms: Mapping[str, float | None]
    rows: str | None
    draws: Draws | None
    spread: Mapping[str, Any] | None
    curves: Mapping[str, SetCurves]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.run.name


def shared_sets(runs: Sequence[Run]) -> list[str]:
    """OOD sets that all runs were measured on, in the order of the first run.

    Empty where no run has any.

    Raises:
        DataError: If some have OOD sets, and there is none that all of them have.
    """
    names = [run.sets for run in runs]
    shared = [name for name in names[0] if all(name in others for others in names)]
    if not shared and any(names):
        listed = "; ".join(
            f"{run.name}: {', '.join(own) or 'none'}" for run, own in zip(runs, names, strict=True)
        )
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
    known: list[str] = []
    found = []
    with progress("runs", len(runs), "runs") as advance:
        while runs:
            run = runs.pop(0)
            rows = None if run.evaluation is None else _rows_of(run.evaluation, run.settings, sets)
            if rows is not None and rows not in known:
                known.append(rows)
            # Other rows get draws of their own: what is not paired is drawn apart.
            seed = 0 if rows is None else known.index(rows)
            found.append(measured(run, sets, rows, samples=samples, seed=seed))
            advance(1)
    return found


def _rows_of(evaluation: Evaluation, settings: Mapping[str, Any], sets: Sequence[str]) -> str:
    """A name for the rows of a run, the same for equal rows.

    Rows are equal if ids and labels of the test split and of every OOD set are, and nothing that
    is recorded of the data says that the same ids are other images.
    """
    known = {
        key: value
        for key, value in settings.items()
        if key == "dataset"
        or (key.startswith("datasets.") and not key.split(".")[2].startswith(_OF_TRAINING))
    }
    found = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
    splits = [("test", evaluation.test)]
    for item in evaluation.comparisons:
        if item.name in sets:
            splits += [(item.name, item.relabelled), (f"{item.name} ood", item.ood)]
    for name, rows in splits:
        found.update(f"{name} {len(rows)}\n".encode())
        found.update(np.ascontiguousarray(rows.ids).tobytes())
        found.update(np.ascontiguousarray(rows.labels).tobytes())
    return found.hexdigest()


def measured(
    run: Run, sets: Sequence[str], rows: str | None, *, samples: int, seed: int
) -> Measured:
    """Measure a run.

    Args:
        run: The run.
        sets: OOD sets whose curves are kept.
        rows: Name of its rows.
        samples: Draws of each interval.
        seed: Equal seeds draw the same of equally many rows, which pairs runs of equal rows.
    """
    evaluation = run.evaluation
    if evaluation is None:
        return Measured(run, run.measures, {}, None, None, None, {})
    is_stream = evaluation.orders is not None
    drawn = None if is_stream else draws(evaluation, samples=samples, seed=seed)
    shown = {item.name: _curves(item) for item in evaluation.comparisons if item.name in sets}
    alarms = [evaluation.false_alarms[name] for name in sets]
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
