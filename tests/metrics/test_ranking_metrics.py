"""AUROC, average precision, AUPR and FPR at a recall against definitions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import metrics as reference
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from ltood.core.errors import ConfigError, DataError
from ltood.metrics._ranking import rank
from ltood.metrics.aupr import aupr
from ltood.metrics.auroc import auroc
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr, operating_point

#: Worked out by hand; OOD recalls are 1/4, 3/4, 3/4 and 1 at the scores 5, 4, 3 and 2.
ID, OOD = [1.0, 2.0, 2.0, 3.0, 4.0], [2.0, 4.0, 4.0, 5.0]
TPRS = ("0.05", "0.3", "0.5", "0.8", "0.9", "0.95", "0.98", "1.0")

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


def assert_equals_sklearn(id_scores, ood_scores):
    found = auroc(id_scores, ood_scores)
    expected = roc_auc_score(*sklearn_inputs(id_scores, ood_scores, "ood"))
    assert found == pytest.approx(expected, abs=1e-12)
    for positive in ("ood", "id"):
        truth, scores = sklearn_inputs(id_scores, ood_scores, positive)
        found = average_precision(id_scores, ood_scores, positive=positive)
        assert found == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
        precision, recall, _ = precision_recall_curve(truth, scores)
        found = aupr(id_scores, ood_scores, positive=positive)
        assert found == pytest.approx(auc(recall, precision), abs=1e-12)


def assert_fpr_by_definition(id_scores, ood_scores):
    ids, oods = np.asarray(id_scores).tolist(), np.asarray(ood_scores).tolist()
    for positive in ("ood", "id"):
        for rule in ("nearest_exact", "first"):
            for tpr in TPRS:
                found = fpr_at_tpr(id_scores, ood_scores, float(tpr), positive=positive, rule=rule)
                expected = reference.fpr_at_tpr(ids, oods, tpr, positive, rule)
                assert found == expected, (positive, rule, tpr)


def test_counted_by_hand():
    assert auroc(ID, OOD) == 16 / 20
    assert average_precision(ID, OOD, positive="ood") == pytest.approx(0.75, abs=1e-15)
    assert average_precision(ID, OOD, positive="id") == pytest.approx(0.785, abs=1e-15)
    assert aupr(ID, OOD, positive="ood") == pytest.approx(0.825, abs=1e-15)
    assert aupr(ID, OOD, positive="id") == pytest.approx(0.8475, abs=1e-15)


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


@pytest.mark.parametrize(("id_scores", "ood_scores"), SETS)
def test_sklearn_agrees(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)


@pytest.mark.parametrize(("id_scores", "ood_scores"), [p for p in SETS if "20" not in p.id])
def test_fpr_by_definition(id_scores, ood_scores):
    assert_fpr_by_definition(id_scores, ood_scores)


@settings(max_examples=150, deadline=None)
@given(tied, tied)
def test_any_ties(id_scores, ood_scores):
    assert_equals_sklearn(id_scores, ood_scores)
    assert_fpr_by_definition(id_scores, ood_scores)
    assert auroc(id_scores, ood_scores) == reference.auroc(id_scores, ood_scores)


@settings(max_examples=60, deadline=None)
@given(tied, tied)
def test_negating_and_swapping_sides_swaps_the_conventions(id_scores, ood_scores):
    ids, oods = np.array(id_scores), np.array(ood_scores)
    assert auroc(-oods, -ids) == auroc(ids, oods)
    for metric in (fpr_at_tpr, average_precision, aupr):
        assert metric(-oods, -ids, positive="id") == metric(ids, oods, positive="ood")


@settings(max_examples=60, deadline=None)
@given(tied, tied, st.randoms(use_true_random=False))
def test_order_of_rows_and_scale_of_scores_do_not_matter(id_scores, ood_scores, random):
    shuffled = random.sample(id_scores, len(id_scores))
    scaled = np.exp(np.array(shuffled)), np.exp(np.array(ood_scores))
    assert auroc(*scaled) == auroc(id_scores, ood_scores)
    for metric in (fpr_at_tpr, average_precision, aupr):
        for positive in ("id", "ood"):
            found = metric(*scaled, positive=positive)
            assert found == metric(id_scores, ood_scores, positive=positive)


def test_perfect_separation():
    ids, oods = np.zeros(5), np.ones(7)
    assert auroc(ids, oods) == 1
    assert fpr_at_tpr(ids, oods, positive="ood") == fpr_at_tpr(ids, oods, positive="id") == 0
    assert aupr(ids, oods, positive="id") == average_precision(ids, oods, positive="ood") == 1
    assert auroc(oods, ids) == 0


def test_large_scores_do_not_tie():
    """Around 300, where a sigmoid would make all scores equal."""
    ids, oods = continuous(7, 500, 500)
    assert auroc(ids.astype(np.float64) + 300, oods.astype(np.float64) + 300) == auroc(ids, oods)


@pytest.mark.parametrize("tpr", [0.0, -0.5, 1.01, float("nan")])
def test_a_recall_out_of_range(tpr):
    with pytest.raises(ConfigError, match="it is a recall, so set it above 0 and up to 1"):
        fpr_at_tpr(ID, OOD, tpr, positive="ood")


def test_an_unknown_rule():
    with pytest.raises(
        ConfigError, match="rule is 'last'; set it to 'nearest', 'nearest_exact' or"
    ):
        fpr_at_tpr(ID, OOD, positive="ood", rule="last")


@pytest.mark.parametrize("metric", [fpr_at_tpr, average_precision, aupr])
def test_a_side_must_be_named(metric):
    with pytest.raises(TypeError, match="positive"):
        metric(ID, OOD)
    with pytest.raises(ConfigError, match="positive is 'in'"):
        metric(ID, OOD, positive="in")


@pytest.mark.parametrize("metric", [auroc, fpr_at_tpr, average_precision, aupr])
def test_nan_is_refused_with_the_number_of_rows(metric):
    options = {} if metric is auroc else {"positive": "ood"}
    with pytest.raises(DataError, match="id_scores has 1 of 2 rows that are NaN"):
        metric([1.0, float("nan")], OOD, **options)
