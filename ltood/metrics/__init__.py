"""Evaluation metrics, one per file; NumPy only."""

from ltood.metrics._ranking import Ranking, rank, redraw

__all__ = ["Ranking", "rank", "redraw"]
