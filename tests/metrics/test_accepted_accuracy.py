"""Accuracy of accepted rows, against counting by hand and the published evaluation."""

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import roc_curve

from ltood.core.errors import ConfigError
from ltood.metrics.accepted_accuracy import accepted_accuracy
from tests.metrics.judged_samples import outliers, rows_of, scores

LEVELS = {"fpr": (1e-4, 1e-3, 1e-2, 1e-1), "tpr": (0.98, 0.95, 0.9, 0.8)}


def published_accuracy(ids, right, oods, level, rate):
    """As PASCL's evaluation finds it: scikit-learn's curve, then the nearest point."""
    is_ood = np.concatenate([np.ones(len(oods)), np.zeros(len(ids))])
    fpr, tpr, thresholds = roc_curve(is_ood, np.concatenate([oods, ids]).astype(np.float64))
    cutoff = np.argmin(np.abs((fpr if rate == "fpr" else tpr) - level))
    accepted = ids <= thresholds[cutoff]
    return right[accepted].mean() if accepted.any() else None


def test_accepted_accuracy_counted_by_hand():
    ids, right = np.arange(10, dtype=np.float32), np.arange(10) % 3 != 2
    oods = np.array([6.5, 11.0, 12.0], dtype=np.float32)
    # One of ten ID rows lies above 8.5, but the curve bends at the scores 11, 7 and 6.5 only.
    assert accepted_accuracy(ids, right, oods, 0.1, rate="fpr") == 7 / 10
    # Threshold 6.5 finds all OOD rows: 0 to 6 are accepted, of which 2 and 5 are wrong.
    assert accepted_accuracy(ids, right, oods, 1.0, rate="tpr") == 5 / 7


@given(scores, outliers)
@settings(deadline=None, max_examples=60)
def test_accepted_accuracy_is_the_published_one(pairs, oods):
    (ids, right), oods = rows_of(pairs), np.array(oods, dtype=np.float32)
    for rate, levels in LEVELS.items():
        for level in levels:
            found = accepted_accuracy(ids, right, oods, level, rate=rate)
            assert found == published_accuracy(ids, right, oods, level, rate)


def test_no_accepted_row_has_no_accuracy():
    assert accepted_accuracy([3.0, 4.0], [True, True], [1.0, 2.0], 1.0, rate="tpr") is None


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="rate"):
        accepted_accuracy([1.0], [True], [2.0], 0.5, rate="recall")
    with pytest.raises(ConfigError, match="level"):
        accepted_accuracy([1.0], [True], [2.0], 1.5, rate="fpr")
