import numpy as np
import pytest

from ltood.core.errors import DataError, UnknownNameError
from ltood.core.registry import available, load
from ltood.metrics import COLUMNS, JUDGED, METRICS, columns_of, ood_rows, rank
from ltood.metrics.fpr_at_tpr import fpr_at_tpr


@pytest.mark.parametrize("key", METRICS)
def test_a_row_follows_the_module_of_its_metric(key):
    metric = METRICS[key]
    module = metric.function.func.__module__.rpartition(".")[2]
    assert module in available("metrics")
    assert metric.key == key
    assert metric.higher_is_better == load("metrics", module).HIGHER_IS_BETTER
    assert metric.unit == "fraction"


def test_every_ranking_metric_has_a_row():
    others = {"accuracy", "accepted_accuracy", "augrc", "aurc", "curves"}
    with_ranking = set(available("metrics")) - others
    assert {METRICS[key].function.func.__module__.rpartition(".")[2] for key in METRICS} == (
        with_ranking
    )


def test_exactly_the_false_positive_rates_are_better_when_lower():
    lower = [key for key in METRICS if not METRICS[key].higher_is_better]
    assert lower == ["fpr95_ood_pos", "fpr95_id_pos", "fpr95_ood_pos_first", "fpr95_id_pos_first"]


def test_keys_say_what_is_computed():
    rng = np.random.default_rng(0)
    ids, oods = rng.normal(size=90), rng.normal(1, 2, 60)
    ranking = rank(ids, oods)
    for side in ("ood", "id"):
        expected = fpr_at_tpr(ids, oods, positive=side)
        assert METRICS[f"fpr95_{side}_pos"].function(ranking) == expected
        expected = fpr_at_tpr(ids, oods, positive=side, rule="first")
        assert METRICS[f"fpr95_{side}_pos_first"].function(ranking) == expected
    # Swapping the sides swaps "out" and "in".
    swapped = rank(-oods, -ids)
    for kind in ("ap", "aupr"):
        assert METRICS[f"{kind}_out"].function(ranking) == METRICS[f"{kind}_in"].function(swapped)


@pytest.mark.parametrize("name", COLUMNS)
def test_each_paper_computes_what_its_table_prints(name):
    table = COLUMNS[name]
    for _, key in table.columns:
        for paper in table.papers.split(", "):
            by = {**METRICS, **JUDGED}[key].computed_by
            assert paper in by or by == "everyone"


def test_unknown_columns_are_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"pasc.*pascl"):
        columns_of("pasc")


def test_rows_of_an_ood_set_with_a_class_are_not_ood():
    np.testing.assert_array_equal(ood_rows(np.array([-1, 3, -1, 0]), "x"), [1, 0, 1, 0])
    with pytest.raises(DataError, match="2 rows of ood_c"):
        ood_rows(np.array([0, 3]), "ood_c")
