import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.evaluation.intervals import bootstrap
from ltood.evaluation.measures import Evaluation
from tests.evaluation.score_samples import Scored, make_scored, rows_of


def test_bootstrap_is_seeded_and_surrounds_the_value(scored, metrics):
    found = bootstrap(Evaluation(scored), samples=100, seed=3)
    assert found == bootstrap(Evaluation(scored), samples=100, seed=3)
    assert found != bootstrap(Evaluation(scored), samples=100, seed=4)
    assert set(found["ood"]) == {"far", "near"}
    assert set(found["id"]) == {"accuracy", "many", "medium", "few"}
    for values, intervals in (
        (metrics["id"], found["id"]),
        (metrics["mean"], found["mean"]),
        *((metrics["ood"][name], found["ood"][name]) for name in ("far", "near")),
    ):
        if values is not metrics["id"]:
            assert set(intervals) == {"auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in"}
        for key, interval in intervals.items():
            assert interval["low"] <= values[key] <= interval["high"]
            assert 0 < interval["std"] < 0.2


def test_bootstrap_is_as_wide_as_repeated_experiments():
    """The spread of AUROC over 200 fresh data sets, against one data set's bootstrap."""
    fresh = [
        Evaluation(make_scored(seed)).metrics["ood"]["near"]["auroc"] for seed in range(100, 300)
    ]
    widths = [
        bootstrap(Evaluation(make_scored(seed)), samples=100)["ood"]["near"]["auroc"]["std"]
        for seed in range(5)
    ]
    assert np.mean(widths) == pytest.approx(np.std(fresh), rel=0.25)


def test_bootstrap_of_a_set_does_not_depend_on_its_neighbours(scored):
    alone = Scored({key: scored.rows[key] for key in ("test", "ood_near")}, scored.attributes)
    found = bootstrap(Evaluation(alone), samples=20)
    assert found["ood"]["near"] == bootstrap(Evaluation(scored), samples=20)["ood"]["near"]
    assert found["mean"] == found["ood"]["near"]


def test_all_sets_see_the_same_draws_of_test_rows(scored):
    """Two equal sets with their own draws: independent draws would shrink the mean's spread."""
    rng = np.random.default_rng(0)
    test = rows_of(rng.normal(size=40), np.zeros(40))
    outliers = rng.normal(1, 1, 40_000)
    rows = {"test": test, **{f"ood_{k}": rows_of(outliers, [-1] * 40_000) for k in "abcd"}}
    found = bootstrap(Evaluation(Scored(rows)), samples=40)
    single = found["ood"]["a"]["auroc"]["std"]
    assert found["mean"]["auroc"]["std"] == pytest.approx(single, rel=0.1)


@pytest.mark.parametrize(("samples", "seed"), [(1, 0), (20, -1)])
def test_bootstrap_needs_samples_and_a_seed(scored, samples, seed):
    with pytest.raises(ConfigError, match=f"samples is {samples} and seed is {seed}"):
        bootstrap(Evaluation(scored), samples=samples, seed=seed)


def test_the_interval_of_the_accuracy_is_as_wide_as_the_binomial_one(scored):
    found = bootstrap(Evaluation(scored), samples=400)["id"]["accuracy"]
    share = Evaluation(scored).metrics["id"]["accuracy"]
    assert found["std"] == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.1)


def test_a_group_without_classes_has_no_interval(scored):
    even = Scored(scored.rows, {"class_counts": [5, 5, 5, 5]})
    assert set(bootstrap(Evaluation(even), samples=5)["id"]) == {"accuracy", "medium"}
