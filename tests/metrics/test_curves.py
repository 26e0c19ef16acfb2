import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from ltood.core.errors import ConfigError
from ltood.metrics._ranking import rank
from ltood.metrics.auroc import auroc
from ltood.metrics.curves import MAX_POINTS, curves, histograms, precision_recall, roc

ID = np.random.default_rng(0).normal(size=300).round(1)
OOD = np.random.default_rng(1).normal(1, 1, 200).round(1)


@pytest.mark.parametrize("positive", ["ood", "id"])
def test_few_points_are_all_points(positive):
    roc_points, recall_points = curves(ID, OOD, positive=positive)
    truth = np.repeat([0, 1], [len(ID), len(OOD)])
    scores = np.concatenate([ID, OOD])
    if positive == "id":
        truth, scores = 1 - truth, -scores
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_points.x, fpr, atol=1e-15)
    np.testing.assert_allclose(roc_points.y, tpr, atol=1e-15)
    precision, recall, _ = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(recall_points.x, recall[::-1], atol=1e-15)
    np.testing.assert_allclose(recall_points.y, precision[::-1], atol=1e-15)


@pytest.mark.parametrize(("num_id", "num_ood"), [(20_000, 1_000), (3, 5_000), (5_000, 1)])
def test_thinning_keeps_ends_shape_and_real_points(num_id, num_ood):
    rng = np.random.default_rng(2)
    ranking = rank(rng.normal(size=num_id), rng.normal(1, 1, num_ood))
    for curve in (roc, precision_recall):
        full = curve(ranking, positive="ood", max_points=10**9)
        thin = curve(ranking, positive="ood")
        assert 2 < len(thin.x) <= MAX_POINTS < len(full.x)
        assert (thin.x[0], thin.y[0]) == (full.x[0], full.y[0])
        assert (thin.x[-1], thin.y[-1]) == (full.x[-1], full.y[-1])
        points = set(zip(full.x.tolist(), full.y.tolist(), strict=True))
        assert points.issuperset(zip(thin.x.tolist(), thin.y.tolist(), strict=True))
        assert (np.diff(thin.x) >= 0).all()


def test_the_area_under_a_thinned_curve_is_the_auroc():
    rng = np.random.default_rng(3)
    ids, oods = rng.normal(size=20_000), rng.normal(1, 1, 20_000)
    curve, _ = curves(ids, oods, positive="ood")
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(auroc(ids, oods), abs=1e-4)


def test_too_few_points():
    with pytest.raises(ConfigError, match="max_points is 1; a curve keeps both ends"):
        curves(ID, OOD, positive="ood", max_points=1)


def test_histograms_share_bins_and_count_every_row():
    borders, shares = histograms([ID, np.append(OOD, 1e6)], num_bins=20)
    assert len(borders) == 21
    assert borders[-1] < 1e6
    assert [side.sum() for side in shares] == pytest.approx([1, 1])
    assert shares[1][-1] >= 1 / 201
    inside = (borders[8] <= ID) & (borders[9] > ID)
    assert shares[0][8] == pytest.approx(inside.mean())


def test_equal_scores_fall_into_one_bin():
    borders, shares = histograms([np.ones(4, np.float32), np.ones(2, np.float32)])
    assert borders[0] < 1 < borders[-1]
    assert [side.max() for side in shares] == [1, 1]
