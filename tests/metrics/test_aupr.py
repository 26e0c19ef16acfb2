"""Trapezoidal area under precision over recall against hand counts and scikit-learn."""

import pytest
from hypothesis import given, settings
from sklearn.metrics import auc, precision_recall_curve

from ltood.metrics.aupr import aupr
from tests.metrics.ranking_samples import ID, OOD, SETS, sklearn_inputs, tied


@pytest.mark.parametrize(("positive", "expected"), [("ood", 0.825), ("id", 0.8475)])
def test_counted_by_hand(positive, expected):
    assert aupr(ID, OOD, positive=positive) == pytest.approx(expected, abs=1e-15)


def assert_equals_sklearn(id_scores, ood_scores):
    for positive in ("ood", "id"):
        precision, recall, _ = precision_recall_curve(
            *sklearn_inputs(id_scores, ood_scores, positive)
        )
        found = aupr(id_scores, ood_scores, positive=positive)
        assert found == pytest.approx(auc(recall, precision), abs=1e-12)


@pytest.mark.parametrize(("id_scores", "ood_scores"), SETS)
def test_sklearn_agrees(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)


@settings(max_examples=150, deadline=None)
@given(tied, tied)
def test_any_ties(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)
