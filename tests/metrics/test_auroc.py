"""AUROC against its definition and scikit-learn."""

import pytest
from hypothesis import given, settings
from reference import metrics as reference
from sklearn.metrics import roc_auc_score

from ltood.metrics.auroc import auroc
from tests.metrics.ranking_samples import ID, OOD, SETS, sklearn_inputs, tied


def test_counted_by_hand():
    assert auroc(ID, OOD) == 16 / 20


@pytest.mark.parametrize(("id_scores", "ood_scores"), SETS)
def test_sklearn_agrees(id_scores, ood_scores):
    expected = roc_auc_score(*sklearn_inputs(id_scores, ood_scores, "ood"))
    assert auroc(id_scores, ood_scores) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(tied, tied)
def test_any_ties(id_scores, ood_scores):
    assert auroc(id_scores, ood_scores) == reference.auroc(id_scores, ood_scores)
