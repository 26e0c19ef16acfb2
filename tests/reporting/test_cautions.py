import copy

import pytest

from ltood.evaluation.measures import Evaluation
from ltood.reporting.cautions import FEW_ROWS, cautions
from ltood.reporting.leaderboard import leaderboard
from tests.reporting.report_samples import board_of, board_row, make_store


@pytest.fixture
def metrics():
    """Metrics without anything to say about them: 400 test rows, 1,000 OOD rows a set."""
    found = copy.deepcopy(Evaluation(make_store()).metrics)
    for values in found["ood"].values():
        values["num_ood"] = 1000
    return found


def test_good_results_need_no_caution(metrics):
    assert cautions(metrics, None) == []


def test_worse_than_guessing(metrics):
    metrics["ood"]["far"]["auroc"] = 0.49
    (words,) = cautions(metrics, None)
    assert "below 50 % on far:" in words


@pytest.mark.parametrize(("above", "said"), [(0.04, 0), (0.06, 1)])
def test_a_far_better_method_is_named(metrics, above, said):
    store = make_store()
    chosen = {slot: store.attributes[slot] for slot in ("method", "calibrator", "normaliser")}
    metrics["mean"]["auroc"] = 0.5
    board = leaderboard(board_of([board_row("knn", 0.5 + above)]), metrics, chosen)
    found = cautions(metrics, board)
    assert len(found) == said
    if said:
        assert "KNN reaches a mean AUROC of 56.00 %, 6.00 points" in found[0]


def test_small_sets(metrics):
    metrics["ood"]["far"]["num_ood"] = 20
    metrics["ood"]["near"]["num_ood"] = FEW_ROWS - 1
    metrics["ood"]["odd"]["num_ood"] = FEW_ROWS
    (words,) = cautions(metrics, None)
    assert f"OOD images: near ({FEW_ROWS - 1}), far (20). FPR95 with OOD positive" in words
    for values in metrics["ood"].values():
        values |= {"num_ood": 1000, "num_id": 50}
    (words,) = cautions(metrics, None)
    assert "ID images: near (50)" in words
