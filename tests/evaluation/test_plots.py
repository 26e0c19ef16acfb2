import csv

import numpy as np
import pytest

from ltood.evaluation.measures import Evaluation
from ltood.evaluation.plots import write_plots
from tests.evaluation.score_samples import make_scored


@pytest.fixture(scope="module")
def scored():
    return make_scored()


@pytest.fixture(scope="module")
def metrics(scored):
    return Evaluation(scored).metrics


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_plots(tmp_path, scored, metrics):
    write_plots(Evaluation(scored), tmp_path / "plots")
    assert sorted(entry.name for entry in (tmp_path / "plots").iterdir()) == [
        "groups.csv",
        "histogram.csv",
        "precision_recall.csv",
        "roc.csv",
    ]
    points = read_csv(tmp_path / "plots/roc.csv")
    for name in ("far", "near"):
        curve = [(float(p["fpr"]), float(p["tpr"])) for p in points if p["set"] == name]
        assert (curve[0], curve[-1]) == ((0, 0), (1, 1))
        area = np.trapezoid([y for _, y in curve], [x for x, _ in curve])
        assert area == pytest.approx(metrics["ood"][name]["auroc"], abs=1e-9)
    points = read_csv(tmp_path / "plots/precision_recall.csv")
    near = [p for p in points if p["set"] == "near"]
    assert (near[0]["recall"], near[0]["precision"]) == ("0.0", "1.0")
    assert float(near[-1]["precision"]) == pytest.approx(60 / 490, abs=0.01)
    bins = read_csv(tmp_path / "plots/histogram.csv")
    assert list(dict.fromkeys(row["set"] for row in bins)) == ["id", "far", "near"]
    for name in ("id", "far", "near"):
        assert sum(float(b["share"]) for b in bins if b["set"] == name) == pytest.approx(1)
    assert all(float(b["bin_left"]) < float(b["bin_right"]) for b in bins)
    groups = read_csv(tmp_path / "plots/groups.csv")
    assert [(row["set"], row["group"]) for row in groups][:3] == [
        ("far", "many"),
        ("far", "medium"),
        ("far", "few"),
    ]
    assert float(groups[0]["accuracy"]) == metrics["id"]["many"]
    alarms = Evaluation(scored).false_alarms
    assert float(groups[5]["false_alarms"]) == alarms["near"]["few"]
