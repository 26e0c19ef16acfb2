"""Our metrics beside scikit-learn's, with ties and imbalance, and on rows counted by hand.

Run by hand: `pytest -m parity tests/parity`.
"""

from importlib import import_module

import numpy as np
import pytest

from ltood.metrics.aupr import aupr
from ltood.metrics.auroc import auroc
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def peers():
    return import_module("sklearn.metrics")


@pytest.fixture(params=["plain", "ties", "20:1", "1:20", "ties and 20:1"])
def scores(request):
    rng = np.random.default_rng(5)
    many = 20 if request.param.endswith("20:1") else 1
    few = 20 if request.param == "1:20" else 1
    id_scores = rng.normal(size=200 * many)
    ood_scores = rng.normal(1.0, size=200 * few)
    if request.param.startswith("ties"):
        id_scores, ood_scores = id_scores.round(), ood_scores.round()
    return id_scores, ood_scores


def labelled(scores, positive):
    """Labels and scores as scikit-learn wants them: the positive side scores higher."""
    id_scores, ood_scores = scores
    is_ood = np.repeat([0, 1], [len(id_scores), len(ood_scores)])
    joined = np.concatenate(scores)
    return (is_ood, joined) if positive == "ood" else (1 - is_ood, -joined)


@pytest.mark.parametrize("positive", ["ood", "id"])
def test_auroc(peers, scores, positive):
    assert auroc(*scores) == pytest.approx(
        peers.roc_auc_score(*labelled(scores, positive)), rel=1e-12
    )


@pytest.mark.parametrize("positive", ["ood", "id"])
def test_aupr(peers, scores, positive):
    precision, recall, _ = peers.precision_recall_curve(*labelled(scores, positive))
    assert aupr(*scores, positive=positive) == pytest.approx(
        peers.auc(recall, precision), rel=1e-12
    )


@pytest.mark.parametrize("positive", ["ood", "id"])
def test_average_precision(peers, scores, positive):
    assert average_precision(*scores, positive=positive) == pytest.approx(
        peers.average_precision_score(*labelled(scores, positive)), rel=1e-12
    )


@pytest.mark.parametrize("tpr", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("positive", ["ood", "id"])
def test_fpr_at_the_first_threshold(peers, scores, positive, tpr):
    fprs, tprs, _ = peers.roc_curve(*labelled(scores, positive), drop_intermediate=False)
    wanted = fprs[np.argmax(tprs >= tpr - 1e-12)]
    found = fpr_at_tpr(*scores, tpr, positive=positive, rule="first")
    assert found == pytest.approx(wanted, abs=1e-12)


def test_rows_counted_by_hand():
    id_scores, ood_scores = [1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 3.0, 5.0, 5.0, 6.0]
    # Of 25 pairs 19 are won and 3 tie: 2 loses to 3 and 4, ties twice; 3 loses to 4, ties once.
    assert auroc(id_scores, ood_scores) == pytest.approx(20.5 / 25)
    # Flagging from 2 on finds all OOD rows, and every ID row but the 1.
    assert fpr_at_tpr(id_scores, ood_scores, 1.0, positive="ood") == pytest.approx(4 / 5)
    # Accepting up to 4 finds all ID rows, and lets in the OOD rows 2 and 3.
    assert fpr_at_tpr(id_scores, ood_scores, 1.0, positive="id") == pytest.approx(2 / 5)
    # From 5 on no ID row is flagged, and three of five OOD rows are.
    assert fpr_at_tpr(id_scores, ood_scores, 0.6, positive="ood", rule="first") == 0
