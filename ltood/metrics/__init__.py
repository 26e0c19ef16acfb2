"""Evaluation metrics, one per file, and the table that names them all; NumPy only."""

from ltood.metrics._columns import COLUMNS, columns_of
from ltood.metrics._ranking import Ranking, rank, redraw
from ltood.metrics._sides import ood_rows
from ltood.metrics._table import METRICS, Metric, mean_over, measure

__all__ = [
    "COLUMNS",
    "METRICS",
    "Metric",
    "Ranking",
    "columns_of",
    "mean_over",
    "measure",
    "ood_rows",
    "rank",
    "redraw",
]
