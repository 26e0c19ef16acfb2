from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.core.settings import parse
from ltood.evaluation import comparison
from ltood.evaluation.config import EvaluationConfig, SetGroups
from ltood.evaluation.intervals import bootstrap, uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.plots import write_plots
from ltood.evaluation.summary import summary
from ltood.evaluation.tables import text_table
from ltood.metrics import JUDGED
from ltood.metrics.aupr import aupr
from ltood.metrics.auroc import auroc
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr
from ltood.store.scores import ScoreStore, ScoreWriter
from tests.evaluation.score_samples import COUNTS, GROUP_OF, NAMES, Scored, make_scored, rows_of

ALL = {
    "metrics": lambda evaluation: evaluation.metrics,
    "breakdown": lambda evaluation: evaluation.breakdown,
    "false_alarms": lambda evaluation: evaluation.false_alarms,
    "fingerprint": lambda evaluation: evaluation.fingerprint,
    "bootstrap": bootstrap,
}


def sides(scored, name):
    test, split = scored.rows["test"], scored.rows[f"ood_{name}"]
    relabelled = split.labels >= 0
    return np.concatenate([test.scores, split.scores[relabelled]]), split.scores[~relabelled]


@pytest.mark.parametrize("name", ["far", "near"])
def test_every_convention_of_every_set(scored, metrics, name):
    ids, oods = sides(scored, name)
    truth = np.repeat([0, 1], [len(ids), len(oods)])
    found = metrics["ood"][name]
    assert found["auroc"] == pytest.approx(
        roc_auc_score(truth, np.concatenate([ids, oods])), abs=1e-12
    )
    expected = {}
    for side in ("ood", "id"):
        expected[f"fpr95_{side}_pos"] = fpr_at_tpr(ids, oods, positive=side)
        expected[f"fpr95_{side}_pos_first"] = fpr_at_tpr(ids, oods, positive=side, rule="first")
        end = {"ood": "out", "id": "in"}[side]
        expected[f"ap_{end}"] = average_precision(ids, oods, positive=side)
        expected[f"aupr_{end}"] = aupr(ids, oods, positive=side)
    assert len(set(expected.values())) >= 6
    assert {key: found[key] for key in expected} == expected
    counts = {"num_id", "num_ood", "num_relabelled"}
    assert set(found) == {*expected, "auroc", *JUDGED, *counts}


def test_relabelled_rows_count_as_id_but_not_in_the_accuracy(scored, metrics):
    near, far = metrics["ood"]["near"], metrics["ood"]["far"]
    assert (near["num_id"], near["num_ood"], near["num_relabelled"]) == (430, 60, 30)
    assert (far["num_id"], far["num_ood"], far["num_relabelled"]) == (400, 150, 0)
    test = scored.rows["test"]
    assert metrics["id"]["accuracy"] == (test.predictions == test.labels).mean()


def test_id_groups_are_means_over_classes(scored, metrics):
    test = scored.rows["test"]
    shares = [(test.predictions == test.labels)[test.labels == c].mean() for c in range(4)]
    assert metrics["id"]["many"] == pytest.approx(shares[0], abs=1e-15)
    assert metrics["id"]["medium"] == pytest.approx((shares[1] + shares[2]) / 2, abs=1e-15)
    assert metrics["id"]["few"] == pytest.approx(shares[3], abs=1e-15)


def test_the_mean_gives_each_set_the_same_weight(metrics):
    assert set(metrics) == {"id", "failures", "ood", "mean"}
    assert set(metrics["mean"]) == set(metrics["ood"]["far"])
    for key, mean in metrics["mean"].items():
        expected = (metrics["ood"]["far"][key] + metrics["ood"]["near"][key]) / 2
        assert mean == pytest.approx(expected, abs=1e-15)


def test_a_group_without_classes_is_null(scored):
    even = Scored(scored.rows, {"class_counts": [5, 5, 5, 5]})
    found = Evaluation(even).metrics["id"]
    assert (found["many"], found["few"]) == (None, None)
    assert found["medium"] is not None
    alarms = Evaluation(even).false_alarms["near"]
    assert (alarms["many"], alarms["few"]) == (None, None)


def test_false_alarms_add_up_to_the_fpr(scored, metrics):
    alarms = Evaluation(scored).false_alarms
    for name in ("far", "near"):
        labels = scored.rows["test"].labels
        extra = scored.rows[f"ood_{name}"].labels
        labels = np.concatenate([labels, extra[extra >= 0]])
        groups = np.array(GROUP_OF)[labels]
        total = sum(
            alarms[name][group] * (groups == group).sum() for group in ("many", "medium", "few")
        )
        fpr = metrics["ood"][name]["fpr95_ood_pos"]
        assert alarms[name]["all"] == fpr
        assert total / len(labels) == pytest.approx(fpr, abs=1e-12)
    # Scores were made to rise with the class number, so the tail is flagged more often.
    assert alarms["near"]["few"] > alarms["near"]["many"]


def test_breakdown_counted_by_hand():
    scored = Scored(
        {
            "test": rows_of([0, 1, 2, 3, 9], [0, 0, 1, 1, 3], [0, 1, 1, 1, 0]),
            "ood_a": rows_of(range(1, 101), [-1] * 100, [0] * 2 + [2] + [3] * 97),
        }
    )
    found = Evaluation(scored).breakdown
    assert [row["name"] for row in found["classes"]] == NAMES
    assert [row["group"] for row in found["classes"]] == GROUP_OF
    assert [row["num_train"] for row in found["classes"]] == COUNTS
    assert [row["num_test"] for row in found["classes"]] == [2, 2, 0, 1]
    assert [row["accuracy"] for row in found["classes"]] == [0.5, 1.0, None, 0.0]
    # 95 of 100 outliers lie at 6 or above, where only the ID row at 9 lies too.
    assert found["false_alarms"] == {"a": {"all": 0.2, "many": 0.0, "medium": 0.0, "few": 1.0}}
    missed = {"num_missed": 5, "many": 2 / 5, "medium": 1 / 5, "few": 2 / 5}
    assert found["missed_ood"] == {"a": missed}


def test_breakdown_when_no_outlier_is_missed():
    rows = {"test": rows_of([0.0, 1.0], [0, 1]), "ood_a": rows_of([5.0], [-1])}
    found = Evaluation(Scored(rows, {"class_counts": COUNTS})).breakdown
    nothing = {"num_missed": 0, "many": None, "medium": None, "few": None}
    assert found["missed_ood"] == {"a": nothing}
    assert [row["name"] for row in found["classes"]] == ["0", "1", "2", "3"]


def test_each_ood_set_is_read_and_sorted_once_for_everything(monkeypatch, tmp_path):
    ranked = []
    rank = comparison.rank

    def counted(*sides):
        ranked.append(sides)
        return rank(*sides)

    monkeypatch.setattr(comparison, "rank", counted)
    scored = make_scored()
    evaluation = Evaluation(scored)
    for _ in range(2):
        assert evaluation.metrics
        assert evaluation.breakdown
        assert evaluation.fingerprint
        assert bootstrap(evaluation, samples=2)
        write_plots(evaluation, tmp_path)
    assert len(ranked) == 2
    assert scored.num_reads == 3


def test_the_fingerprint_is_that_of_the_rows_and_of_what_made_them(scored):
    wanted = Evaluation(scored).fingerprint
    assert Evaluation(make_scored()).fingerprint == wanted
    in_other_order = Scored(dict(reversed(scored.rows.items())), scored.attributes)
    assert Evaluation(in_other_order).fingerprint == wanted
    changed = [Scored(scored.rows, {**scored.attributes, "class_counts": [5, 5, 5, 5]})]
    changed.append(Scored(scored.rows, {**scored.attributes, "method": {"name": "knn"}}))
    for name in ("test", "ood_far", "ood_near"):
        split = scored.rows[name]
        for key in ("scores", "predictions", "labels", "ids"):
            array = getattr(split, key).copy()
            array[-1] += 1
            rows = {**scored.rows, name: replace(split, **{key: array})}
            changed.append(Scored(rows, scored.attributes))
    renamed = {
        "ood_farther" if name == "ood_far" else name: rows for name, rows in scored.rows.items()
    }
    changed.append(Scored(renamed, scored.attributes))
    found = {Evaluation(item).fingerprint for item in changed}
    assert len(found) == len(changed)
    assert wanted not in found


def without(scored, *names):
    rows = {name: rows for name, rows in scored.rows.items() if name not in names}
    return Scored(rows, scored.attributes)


@pytest.mark.parametrize("name", ALL)
def test_missing_splits(scored, name):
    with pytest.raises(StoreError, match=r"no split test \(only train, ood_far, ood_near\)"):
        ALL[name](Evaluation(without(scored, "test")))


def test_without_ood_sets_there_is_what_the_id_rows_give(scored, tmp_path):
    evaluation = Evaluation(without(scored, "ood_far", "ood_near"))
    whole = Evaluation(scored)
    assert evaluation.metrics == {key: whole.metrics[key] for key in ("id", "failures")}
    assert evaluation.breakdown["classes"] == whole.breakdown["classes"]
    assert evaluation.breakdown["false_alarms"] == evaluation.breakdown["missed_ood"] == {}
    assert evaluation.fingerprint != whole.fingerprint
    assert uncertainty(evaluation) == {"id": uncertainty(whole)["id"]}
    assert set(summary(evaluation.metrics)) <= {"accuracy", "accuracy_few"}
    assert "AUROC" not in text_table(evaluation.metrics)
    write_plots(evaluation, tmp_path)
    lines = {path.stem: len(path.read_text().splitlines()) for path in tmp_path.iterdir()}
    assert lines.pop("histogram") > 1
    assert set(lines.values()) == {1}


def test_a_group_needs_its_sets(scored):
    groups = SetGroups({"near": ("near",)})
    with pytest.raises(DataError, match=r"evaluation\.groups\.near"):
        _ = Evaluation(without(scored, "ood_far", "ood_near"), groups).metrics


def test_shifted_rows_need_no_ood_set(scored):
    rows = {**without(scored, "ood_far", "ood_near").rows, "csid_dark": scored.rows["test"]}
    found = Evaluation(Scored(rows, scored.attributes)).metrics
    assert set(found) == {"id", "failures", "csid"}
    assert found["csid"]["dark"]["accuracy"] == found["id"]["accuracy"]


def test_missing_class_counts(scored):
    with pytest.raises(StoreError, match="has no class_counts; run the score stage again"):
        ALL["metrics"](Evaluation(Scored(scored.rows, {})))


def test_a_set_of_relabelled_rows_only(scored):
    rows = {**scored.rows, "ood_c": rows_of([1, 2], [0, 3])}
    with pytest.raises(DataError, match="all 2 rows of ood_c carry a class label"):
        ALL["metrics"](Evaluation(Scored(rows)))


def test_classes_out_of_range(scored):
    rows = {**scored.rows, "ood_c": rows_of([1, 2], [-1, 7])}
    with pytest.raises(DataError, match=r"ID labels compared with c are not classes .*value 7"):
        ALL["false_alarms"](Evaluation(Scored(rows)))
    # Two of 40 outliers score lowest, so they are missed; their predictions are grouped.
    rows["ood_c"] = rows_of([-9, *range(39)], [-1] * 40, [5] * 40)
    with pytest.raises(DataError, match=r"predictions of c are not classes .*value 5"):
        ALL["breakdown"](Evaluation(Scored(rows)))
    rows["test"] = rows_of([1, 2], [0, -1])
    with pytest.raises(DataError, match=r"1 of 2 labels are not classes .*row 1, value -1"):
        ALL["metrics"](Evaluation(Scored(rows)))


def test_a_real_store_gives_the_same_numbers(tmp_path, scored, metrics):
    rows = {name: len(split) for name, split in scored.rows.items()}
    with ScoreWriter(tmp_path / "scores.zarr", rows, scored.attributes) as writer:
        for name, split in scored.rows.items():
            writer.append(name, split)
    store = ScoreStore.open(tmp_path / "scores.zarr")
    assert Evaluation(store).metrics == metrics
    assert Evaluation(store).breakdown == Evaluation(scored).breakdown


def test_groups_are_means_over_their_sets(scored):
    groups = SetGroups.of_setting({"hard": ["near"], "all": ["near", "far"]})
    found = Evaluation(scored, groups).metrics
    assert found["groups"]["hard"] == found["ood"]["near"]
    assert found["groups"]["all"] == found["mean"]
    plain = Evaluation(scored)
    assert "groups" not in plain.metrics
    assert plain.fingerprint != Evaluation(scored, groups).fingerprint


def test_a_group_of_an_unknown_set_is_refused(scored):
    with pytest.raises(DataError, match=r"evaluation\.groups\.hard names 'nearest'"):
        _ = Evaluation(scored, SetGroups({"hard": ("nearest",)})).metrics


@pytest.mark.parametrize("given", [{"near": []}, {"near": "far"}, {"a": ["b", "b"]}, ["near"]])
def test_malformed_groups_are_refused(given):
    with pytest.raises(ConfigError, match=r"evaluation\.groups"):
        parse({"groups": given}, EvaluationConfig, "evaluation")


def test_rows_under_covariate_shift_count_as_id_in_the_full_spectrum(scored):
    plain = Evaluation(scored).metrics
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, 60)
    predictions = np.where(rng.random(60) < 0.5, labels, 0)
    shifted = rows_of(rng.normal(1.5, 1, 60), labels, predictions)
    found = Evaluation(Scored({**scored.rows, "csid_fog": shifted}))
    metrics = found.metrics
    # The plain figures stay what they were.
    assert {key: metrics[key] for key in plain} == plain
    assert metrics["csid"]["fog"]["accuracy"] == (predictions == labels).mean()
    assert metrics["csid"]["fog"]["num_rows"] == 60
    for name in ("far", "near"):
        ids, oods = sides(scored, name)
        full = metrics["full_spectrum"]["ood"][name]
        ids = np.concatenate([ids, shifted.scores])
        assert full["auroc"] == auroc(ids, oods)
        assert full["num_id"] == len(ids)
    assert found.fingerprint != Evaluation(scored).fingerprint
