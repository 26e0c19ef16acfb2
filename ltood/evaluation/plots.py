"""The CSV files that `dvc plots` draws."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.evaluation.measures import Evaluation
from ltood.metrics import curves
from ltood.runtime.files import write_atomically


def write_plots(evaluation: Evaluation, folder: Path | str) -> None:
    """Write the CSV files that `dvc plots` draws, OOD positive, all in fractions.

    `roc.csv` (set, fpr, tpr), `precision_recall.csv` (set, recall, precision),
    `histogram.csv` (set, bin_left, bin_right, share; the ID test rows are the set `id`,
    the end bins hold what lies outside) and `groups.csv` (set, group, accuracy,
    false_alarms; empty where a group has no rows). Without OOD sets only the histogram has rows.

    Raises:
        StoreError: If the test split or the class counts are missing.
        DataError: If scores or labels break a rule.
    """
    folder = Path(folder)
    accuracies, alarms = evaluation.id_metrics, evaluation.false_alarms
    roc_rows: list[Sequence[Any]] = []
    recall_rows: list[Sequence[Any]] = []
    sides = {"id": evaluation.test.scores}
    for item in evaluation.comparisons:
        curve = curves.roc(item.ranking, positive="ood")
        roc_rows += _rows(item.name, curve.x, curve.y)
        curve = curves.precision_recall(item.ranking, positive="ood")
        recall_rows += _rows(item.name, curve.x, curve.y)
        sides[item.name] = item.ood.scores
    borders, shares = curves.histograms(list(sides.values()))
    bins = [
        row
        for name, side in zip(sides, shares, strict=True)
        for row in _rows(name, borders[:-1], borders[1:], side)
    ]
    groups = [
        (name, group, accuracies[group], alarms[name][group]) for name in alarms for group in GROUPS
    ]
    _write_csv(folder / "roc.csv", ("set", "fpr", "tpr"), roc_rows)
    _write_csv(folder / "precision_recall.csv", ("set", "recall", "precision"), recall_rows)
    _write_csv(folder / "histogram.csv", ("set", "bin_left", "bin_right", "share"), bins)
    _write_csv(folder / "groups.csv", ("set", "group", "accuracy", "false_alarms"), groups)


def _rows(name: str, *columns: NDArray[np.float64]) -> list[Sequence[Any]]:
    return [(name, *values) for values in zip(*(c.tolist() for c in columns), strict=True)]


def _write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
