"""Evaluation metrics, one per file, and the table that names them all; NumPy only."""

from ltood.metrics._columns import COLUMNS, columns_of
from ltood.metrics._judged import Judged, judge
from ltood.metrics._judged_table import JUDGED, JudgedMetric, measure_judged
from ltood.metrics._ranking import Ranking, rank, redraw
from ltood.metrics._sides import ood_rows
from ltood.metrics._table import METRICS, Metric, mean_over, measure

__all__ = [
    "COLUMNS",
    "JUDGED",
    "METRICS",
    "Judged",
    "JudgedMetric",
    "Metric",
    "Ranking",
    "columns_of",
    "judge",
    "mean_over",
    "measure",
    "measure_judged",
    "ood_rows",
    "rank",
    "redraw",
]
