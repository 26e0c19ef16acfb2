"""FPR at a recall against its definition, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from reference import metrics as reference

from ltood.core.errors import ConfigError
from ltood.metrics._ranking import rank
from ltood.metrics.fpr_at_tpr import fpr_at_tpr, operating_point
from tests.metrics.ranking_samples import ID, OOD, SETS, continuous, tied

TPRS = ("0.05", "0.3", "0.5", "0.8", "0.9", "0.95", "0.98", "1.0")


def assert_fpr_by_definition(id_scores, ood_scores):
    ids, oods = np.asarray(id_scores).tolist(), np.asarray(ood_scores).tolist()
    for positive in ("ood", "id"):
        for rule in ("nearest_exact", "first"):
            for tpr in TPRS:
                found = fpr_at_tpr(id_scores, ood_scores, float(tpr), positive=positive, rule=rule)
                expected = reference.fpr_at_tpr(ids, oods, tpr, positive, rule)
                assert found == expected, (positive, rule, tpr)


@pytest.mark.parametrize(
    ("tpr", "positive", "rule", "fpr"),
    [
        (0.95, "ood", "nearest_exact", 4 / 5),
        (0.95, "id", "nearest_exact", 3 / 4),
        (0.80, "id", "nearest_exact", 1 / 4),
        # Two thresholds have recall 3/4: nearest takes the looser, first the stricter one.
        (0.75, "ood", "nearest_exact", 2 / 5),
        (0.75, "ood", "first", 1 / 5),
        # 1/4 and 3/4 are equally far from 1/2: the higher recall.
        (0.5, "ood", "nearest_exact", 2 / 5),
        # 1/4 is nearer to 0.3 but does not reach it.
        (0.3, "ood", "nearest_exact", 0.0),
        (0.3, "ood", "first", 1 / 5),
        # 1/5 and 3/5 are equally far from 2/5.
        (0.4, "id", "nearest_exact", 1 / 4),
    ],
)
def test_fpr_counted_by_hand(tpr, positive, rule, fpr):
    assert fpr_at_tpr(ID, OOD, tpr, positive=positive, rule=rule) == fpr


def test_full_recall_counts_at_its_strictest_threshold():
    """ID rows below the lowest OOD row are never false alarms."""
    assert fpr_at_tpr([1.0, 2.0, 3.0, 9.0], [4.0, 5.0], 1.0, positive="ood") == 1 / 4


@pytest.mark.parametrize("num", [10, 30, 50, 70, 90])
def test_equally_near_recalls_tie_exactly_whatever_the_rounding(num):
    """0.95 lies half-way between two recalls; one ID row separates them."""
    ood = np.arange(num, 0, -1.0)
    lower = int(0.95 * num)
    id_scores = np.array([ood[lower] + 0.5, -1.0])
    point = operating_point(rank(id_scores, ood), positive="ood", rule="nearest_exact")
    assert (point.tpr, point.fpr) == ((lower + 1) / num, 0.5)
    assert point.threshold == ood[lower]


@pytest.mark.parametrize(("num", "recall"), [(10, 9 / 10), (50, 48 / 50)])
def test_official_rule_lets_float64_decide(num, recall):
    ranking = rank([-1.0], np.arange(num, 0, -1.0))
    assert operating_point(ranking, positive="ood", rule="nearest").tpr == recall


def test_the_operating_point_does_what_it_says():
    id_scores, ood_scores = continuous(6, 900, 700)
    for positive in ("ood", "id"):
        point = operating_point(rank(id_scores, ood_scores), positive=positive)
        if positive == "ood":
            tpr, fpr = (ood_scores >= point.threshold), (id_scores >= point.threshold)
        else:
            tpr, fpr = (id_scores <= point.threshold), (ood_scores <= point.threshold)
        assert (tpr.mean(), fpr.mean()) == pytest.approx((point.tpr, point.fpr), abs=1e-15)


@pytest.mark.parametrize(("id_scores", "ood_scores"), [p for p in SETS if "20" not in p.id])
def test_fpr_by_definition(id_scores, ood_scores):
    assert_fpr_by_definition(id_scores, ood_scores)


@pytest.mark.parametrize("tpr", [0.0, -0.5, 1.01, float("nan")])
def test_a_recall_out_of_range(tpr):
    with pytest.raises(ConfigError, match="it is a recall, so set it above 0 and up to 1"):
        fpr_at_tpr(ID, OOD, tpr, positive="ood")


def test_an_unknown_rule():
    with pytest.raises(
        ConfigError, match="rule is 'last'; set it to 'nearest', 'nearest_exact' or"
    ):
        fpr_at_tpr(ID, OOD, positive="ood", rule="last")


@settings(max_examples=150, deadline=None)
@given(tied, tied)
def test_any_ties(id_scores, ood_scores):
    assert_fpr_by_definition(id_scores, ood_scores)
