"""Intervals of AUROCs: against all pairs of rows written out, and against redrawn rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.evaluation.delong import AurocSpread, shares_right
from ltood.evaluation.intervals import bootstrap
from ltood.evaluation.measures import Evaluation
from ltood.metrics import auroc
from ltood.store.scores import ScoreSplit
from tests.reporting.report_samples import make_store

LEVELS = st.lists(st.integers(0, 5), min_size=1, max_size=12)


def split(scores, labels):
    scores = np.asarray(scores, dtype=np.float32)
    return ScoreSplit(scores, np.zeros(len(scores), np.int64), labels, np.arange(len(scores)))


def drawn(rng, detectors, rows, labels, shift):
    common = rng.normal(shift, 1, rows)
    return {
        key: split(np.round(common + rng.normal(0, 0.2 + key, rows), 1), labels)
        for key in range(detectors)
    }


def make_sets(seed, detectors=4):
    """Test rows, and two OOD sets of which the second has relabelled rows."""
    rng = np.random.default_rng(seed)
    relabelled = np.where(np.arange(30) < 9, 0, -1)
    test = drawn(rng, detectors, 40, np.zeros(40, np.int64), 0)
    sets = {
        "ood_a": drawn(rng, detectors, 25, np.full(25, -1), 1),
        "ood_b": drawn(rng, detectors, 30, relabelled, 0.5),
    }
    return test, sets


def spread_of(test, sets):
    spread = AurocSpread()
    for name, rows in sets.items():
        spread.add(name, test, rows)
    return spread


def sides(test, rows, key):
    is_ood = rows[key].labels < 0
    own = test[key].scores
    return own, rows[key].scores[~is_ood], rows[key].scores[is_ood]


def mean_auroc(test, sets, key):
    found = []
    for rows in sets.values():
        own, relabelled, ood = sides(test, rows, key)
        found.append(auroc.auroc(np.concatenate([own, relabelled]), ood))
    return float(np.mean(found))


def slow_covariance(test, sets, first, second):
    """Covariance of two mean AUROCs, pair by pair and row by row."""
    total, of_test = 0.0, {key: np.zeros(40) for key in (first, second)}
    for rows in sets.values():
        parts = {}
        for key in {first, second}:
            own, relabelled, ood = sides(test, rows, key)
            known = [*own, *relabelled]
            points = np.array([[(y > x) + (y == x) / 2 for y in ood] for x in known])
            parts[key] = points.mean(axis=1), points.mean(axis=0)
            of_test[key] += 40 / len(known) * parts[key][0][:40] / len(sets)
        (x, u), (y, v) = parts[first], parts[second]
        share = len(x[40:]) / len(x)
        if share:
            total += share**2 * np.cov(x[40:], y[40:])[0, 1] / len(x[40:]) / len(sets) ** 2
        total += np.cov(u, v)[0, 1] / len(u) / len(sets) ** 2
    return total + np.cov(of_test[first], of_test[second])[0, 1] / 40


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_are_those_of_all_pairs_of_rows(seed):
    test, sets = make_sets(seed)
    means = {key: mean_auroc(test, sets, key) for key in test}
    found = spread_of(test, sets).of(means)
    best = max(means, key=means.get)
    for key, mean in means.items():
        variance = slow_covariance(test, sets, key, key)
        assert found[key]["auroc"]["std"] == pytest.approx(variance**0.5, abs=1e-7)
        gap = variance + slow_covariance(test, sets, best, best)
        gap -= 2 * slow_covariance(test, sets, best, key)
        behind = found[key]["behind_best"]
        assert behind["mean"] == pytest.approx(means[best] - mean)
        if key == best:
            assert behind == {"mean": 0, "low": 0, "high": 0}
        else:
            assert behind["high"] - behind["mean"] == pytest.approx(1.959964 * gap**0.5, abs=1e-6)
            assert behind["mean"] - behind["low"] == pytest.approx(1.959964 * gap**0.5, abs=1e-6)


@given(LEVELS, LEVELS)
def test_shares_are_counted_over_all_pairs(known, outliers):
    of_known, of_outliers = shares_right(np.array(known), np.array(outliers))
    points = [[(y > x) + (y == x) / 2 for y in outliers] for x in known]
    np.testing.assert_allclose(of_known, np.mean(points, axis=1), atol=1e-12)
    np.testing.assert_allclose(of_outliers, np.mean(points, axis=0), atol=1e-12)


def test_they_agree_with_redrawn_rows():
    """The bootstrap of the report draws the same rows; it agrees to the noise of its draws."""
    evaluation = Evaluation(make_store(sets=("near", "far", "odd")))
    test, store = evaluation.test, evaluation.scores
    names = [name for name in store.splits if name.startswith("ood_")]
    spread = spread_of({"own": test}, {name: {"own": store.split(name)} for name in names})
    mean = evaluation.metrics["mean"]["auroc"]
    found = spread.of({"own": mean})["own"]["auroc"]
    expected = bootstrap(evaluation, samples=400)["mean"]["auroc"]
    assert found["std"] == pytest.approx(expected["std"], rel=0.12)
    assert found["low"] == pytest.approx(expected["low"], abs=0.004)
    assert found["high"] == pytest.approx(expected["high"], abs=0.004)


def test_a_pair_is_known_better_than_its_sides():
    test, sets = make_sets(3, detectors=2)
    means = {key: mean_auroc(test, sets, key) for key in test}
    found = spread_of(test, sets).of(means)
    best = max(means, key=means.get)
    other = found[1 - best]["behind_best"]
    apart = sum(found[key]["auroc"]["std"] ** 2 for key in found) ** 0.5
    assert (other["high"] - other["low"]) / 2 < 1.96 * apart


def test_the_same_scores_are_not_apart():
    test, sets = make_sets(5, detectors=1)
    twice = {0: test[0], 1: test[0]}
    spread = spread_of(twice, {name: {0: rows[0], 1: rows[0]} for name, rows in sets.items()})
    mean = mean_auroc(test, sets, 0)
    found = spread.of({0: mean, 1: mean})
    assert found[1]["behind_best"] == pytest.approx({"mean": 0, "low": 0, "high": 0}, abs=1e-6)


def test_rows_that_fell_out_do_not_count_and_order_of_adding_decides_nothing():
    test, sets = make_sets(7)
    means = {key: mean_auroc(test, sets, key) for key in (0, 2)}
    fewer = {name: {key: rows[key] for key in (2, 0)} for name, rows in reversed(sets.items())}
    # Detector 3 failed on the second set that was read.
    partly = {**sets, "ood_b": {key: sets["ood_b"][key] for key in (0, 1, 2)}}
    assert spread_of(test, partly).of(means) == spread_of(test, fewer).of(means)


def test_a_set_of_one_row_has_no_interval():
    test, sets = make_sets(9, detectors=1)
    one = {"ood_a": {0: split([1.0], np.array([-1]))}}
    found = spread_of(test, {**sets, **one}).of({0: 0.5})[0]
    assert found["auroc"] == {"low": None, "high": None, "std": None}


def test_separate_sides_have_an_interval_without_width():
    test = {0: split([0, 1], np.zeros(2, np.int64))}
    spread = spread_of(test, {"ood_a": {0: split([2, 3], np.full(2, -1))}})
    assert spread.of({0: 1.0})[0]["auroc"] == {"low": 1.0, "high": 1.0, "std": 0.0}
