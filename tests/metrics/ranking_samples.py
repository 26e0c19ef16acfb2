"""Scores of both sides with few and many ties, and how scikit-learn wants them."""

import numpy as np
import pytest
from hypothesis import strategies as st

#: Worked out by hand; OOD recalls are 1/4, 3/4, 3/4 and 1 at the scores 5, 4, 3 and 2.
ID, OOD = [1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 4.0, 4.0, 5.0]

tied = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=40)


def continuous(seed, num_id, num_ood, decimals=None):
    rng = np.random.default_rng(seed)
    sides = rng.normal(size=num_id), rng.normal(1.0, 1.5, num_ood)
    if decimals is not None:
        sides = tuple(side.round(decimals) for side in sides)
    return tuple(side.astype(np.float32) for side in sides)


SETS = [
    pytest.param(*continuous(0, 400, 300), id="continuous"),
    pytest.param(*continuous(1, 400, 300, decimals=1), id="ties"),
    pytest.param(*continuous(2, 4000, 200), id="20 to 1"),
    pytest.param(*continuous(3, 200, 4000, decimals=1), id="1 to 20 with ties"),
    pytest.param(*continuous(4, 1, 500), id="one ID row"),
    pytest.param(*continuous(5, 500, 1), id="one OOD row"),
    pytest.param(np.zeros(3), np.zeros(8), id="all equal"),
]


def sklearn_inputs(id_scores, ood_scores, positive):
    is_ood = np.concatenate([np.zeros(len(id_scores)), np.ones(len(ood_scores))])
    joined = np.concatenate([id_scores, ood_scores]).astype(np.float64)
    return (is_ood, joined) if positive == "ood" else (1 - is_ood, -joined)
