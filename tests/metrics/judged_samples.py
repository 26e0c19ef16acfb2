"""Rows with right and wrong predictions, and their risks counted row by row."""

import numpy as np
from hypothesis import strategies as st

scores = st.lists(st.tuples(st.integers(-4, 4).map(float), st.booleans()), min_size=1, max_size=30)
outliers = st.lists(st.integers(-4, 6).map(float), min_size=1, max_size=30)


def rows_of(pairs):
    values, right = zip(*pairs, strict=True)
    return np.array(values, dtype=np.float32), np.array(right)


def risks_by_rows(values, failed):
    """Coverage, selective and generalised risk at each distinct score, one by one."""
    points = []
    for score in sorted(set(values.tolist())):
        accepted = values <= score
        errors = failed[accepted].sum()
        points.append((accepted.mean(), errors / accepted.sum(), errors / len(values)))
    return points


def with_outliers(ids, right, oods):
    """Scores of both sides, and which rows are failures."""
    both = np.concatenate([ids, np.array(oods, dtype=np.float32)])
    return both, np.concatenate([~right, np.ones(len(oods), dtype=bool)])
