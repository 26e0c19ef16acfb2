import copy

import pytest

from ltood.core.errors import DataError
from ltood.evaluation.measures import Evaluation
from ltood.metrics import METRICS
from ltood.reporting import tables, wording
from tests.reporting.report_samples import make_store


@pytest.fixture(scope="module")
def metrics():
    return Evaluation(make_store()).metrics


def test_best_and_worst_follow_the_direction(metrics):
    rows = {row.heading: row.cells for row in tables.set_rows(metrics, None)}
    keys = [*METRICS, *(count.key for count in wording.COUNTS)]
    for key, best in (("auroc", max), ("fpr95_id_pos", min), ("ap_in", max)):
        values = {name: values[key] for name, values in metrics["ood"].items()}
        ranks = {name: rows[name][keys.index(key)].rank for name in values}
        assert ranks[best(values, key=values.get)] == "best"
        assert sorted(ranks.values()) == ["", "", "best", "worst"]
    assert {cell.rank for cell in rows["Mean"]} == {""}
    assert {rows[name][keys.index("num_ood")].rank for name in values} == {""}


def test_two_sets_are_not_ranked(metrics):
    metrics = copy.deepcopy(metrics)
    for name in ("odd", "even"):
        del metrics["ood"][name]
    assert {cell.rank for row in tables.set_rows(metrics, None) for cell in row.cells} == {""}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", True])
def test_what_is_not_a_finite_number_is_refused(value):
    with pytest.raises(DataError, match="mean auroc"):
        tables.percent(value, "mean auroc")


def test_no_value_is_a_dash():
    assert tables.percent(None, "few") == tables.ABSENT


def test_a_class_group_without_images_has_no_card(metrics):
    found = copy.deepcopy(metrics)
    found["id"] |= {"medium": 0.0, "few": None}
    titles = [tile.title for tile in tables.tiles(found, None)]
    assert "Accuracy, medium" in titles
    assert "Accuracy, few" not in titles


def test_relabelled_images_have_a_column_where_there_are_any(metrics):
    for count in (0, 3):
        found = copy.deepcopy(metrics)
        for values in found["ood"].values():
            values["num_relabelled"] = 0
        found["ood"]["odd"]["num_relabelled"] = count
        columns = tables.set_columns(found)
        assert ("num_relabelled" in [column.key for column in columns]) == bool(count)
        assert {len(row.cells) for row in tables.set_rows(found, None)} == {len(columns)}
