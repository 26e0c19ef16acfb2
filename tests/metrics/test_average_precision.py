"""Average precision against hand counts and scikit-learn."""

import pytest
from hypothesis import given, settings
from sklearn.metrics import average_precision_score

from ltood.metrics.average_precision import average_precision
from tests.metrics.ranking_samples import ID, OOD, SETS, sklearn_inputs, tied


@pytest.mark.parametrize(("positive", "expected"), [("ood", 0.75), ("id", 0.785)])
def test_counted_by_hand(positive, expected):
    found = average_precision(ID, OOD, positive=positive)
    assert found == pytest.approx(expected, abs=1e-15)


def assert_equals_sklearn(id_scores, ood_scores):
    for positive in ("ood", "id"):
        expected = average_precision_score(*sklearn_inputs(id_scores, ood_scores, positive))
        found = average_precision(id_scores, ood_scores, positive=positive)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("id_scores", "ood_scores"), SETS)
def test_sklearn_agrees(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)


@settings(max_examples=150, deadline=None)
@given(tied, tied)
def test_any_ties(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)
