import csv

import numpy as np
import pytest

from ltood.evaluation.measures import Evaluation
from ltood.evaluation.plots import write_plots


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def plots(scored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots")
    write_plots(Evaluation(scored), folder)
    return folder


def test_each_plot_is_a_table(plots):
    names = ["groups.csv", "histogram.csv", "precision_recall.csv", "roc.csv"]
    assert sorted(entry.name for entry in plots.iterdir()) == names


@pytest.mark.parametrize("name", ["far", "near"])
def test_the_area_under_the_roc_curve_is_auroc(plots, metrics, name):
    points = [point for point in read_csv(plots / "roc.csv") if point["set"] == name]
    fpr, tpr = ([float(point[key]) for point in points] for key in ("fpr", "tpr"))
    assert ((fpr[0], tpr[0]), (fpr[-1], tpr[-1])) == ((0, 0), (1, 1))
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics["ood"][name]["auroc"], abs=1e-9)


def test_precision_ends_at_the_share_of_outliers(plots):
    near = [point for point in read_csv(plots / "precision_recall.csv") if point["set"] == "near"]
    assert (near[0]["recall"], near[0]["precision"]) == ("0.0", "1.0")
    assert float(near[-1]["precision"]) == pytest.approx(60 / 490, abs=0.01)


def test_shares_of_the_histogram_sum_to_one(plots):
    bins = read_csv(plots / "histogram.csv")
    assert list(dict.fromkeys(row["set"] for row in bins)) == ["id", "far", "near"]
    for name in ("id", "far", "near"):
        assert sum(float(b["share"]) for b in bins if b["set"] == name) == pytest.approx(1)
    assert all(float(b["bin_left"]) < float(b["bin_right"]) for b in bins)


def test_groups_hold_accuracy_and_false_alarms(plots, scored, metrics):
    groups = {(row["set"], row["group"]): row for row in read_csv(plots / "groups.csv")}
    assert list(groups)[:3] == [("far", "many"), ("far", "medium"), ("far", "few")]
    assert float(groups["far", "many"]["accuracy"]) == metrics["id"]["many"]
    alarms = Evaluation(scored).false_alarms
    assert float(groups["near", "few"]["false_alarms"]) == alarms["near"]["few"]
