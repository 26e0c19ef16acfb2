"""Evaluation metrics, one per file; NumPy only."""
