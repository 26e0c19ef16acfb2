import csv
import json
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ltood.core.errors import ConfigError, DataError, StoreError, UnknownNameError
from ltood.evaluation import measures as evaluation
from ltood.evaluation import plots, tables
from ltood.metrics import COLUMNS, columns_of
from ltood.metrics.aupr import aupr
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr
from ltood.store.scores import ScoreSplit, ScoreStore, ScoreWriter

COUNTS = [500, 90, 40, 3]
NAMES = ["bird", "cat", "dog", "eel"]
GROUP_OF = ["many", "medium", "medium", "few"]


@dataclass
class Scored:
    """A score store held in memory."""

    rows: dict[str, ScoreSplit]
    attributes: dict[str, object] = field(
        default_factory=lambda: {"class_counts": COUNTS, "class_names": NAMES}
    )

    @property
    def splits(self):
        return list(self.rows)

    def split(self, name):
        return self.rows[name]


def rows_of(scores, labels, predictions=None):
    labels = np.asarray(labels, dtype=np.int64)
    predictions = np.zeros(len(labels)) if predictions is None else predictions
    return ScoreSplit(
        np.asarray(scores, dtype=np.float32),
        np.asarray(predictions, dtype=np.int64),
        labels,
        np.arange(len(labels)),
    )


def make_scored(seed=0, num_test=400):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, num_test)
    predictions = np.where(rng.random(num_test) < 0.8, labels, rng.integers(0, 4, num_test))
    rows = {
        "train": rows_of(np.full(9, 99.0), np.zeros(9)),
        "test": rows_of(rng.normal(size=num_test) + 0.3 * labels, labels, predictions),
    }
    for name, mean, count, num_relabelled in (("far", 3.0, 150, 0), ("near", 1.0, 90, 30)):
        classes = np.where(np.arange(count) < num_relabelled, rng.integers(0, 4, count), -1)
        scores = rng.normal(mean, 1.2, count) - (classes >= 0)
        rows[f"ood_{name}"] = rows_of(scores, classes, rng.integers(0, 4, count))
    return Scored(rows)


@pytest.fixture(scope="module")
def scored():
    return make_scored()


@pytest.fixture(scope="module")
def metrics(scored):
    return evaluation.evaluate(scored)


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
    assert set(found) == {*expected, "auroc", "num_id", "num_ood", "num_relabelled"}


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
    assert set(metrics) == {"id", "ood", "mean"}
    assert set(metrics["mean"]) == set(metrics["ood"]["far"])
    for key, mean in metrics["mean"].items():
        expected = (metrics["ood"]["far"][key] + metrics["ood"]["near"][key]) / 2
        assert mean == pytest.approx(expected, abs=1e-15)


def test_a_group_without_classes_is_null(scored):
    even = Scored(scored.rows, {"class_counts": [5, 5, 5, 5]})
    found = evaluation.evaluate(even)["id"]
    assert (found["many"], found["few"]) == (None, None)
    assert found["medium"] is not None
    alarms = evaluation.false_alarms(even)["near"]
    assert (alarms["many"], alarms["few"]) == (None, None)


def test_false_alarms_add_up_to_the_fpr(scored, metrics):
    alarms = evaluation.false_alarms(scored)
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
    found = evaluation.breakdown(scored)
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
    found = evaluation.breakdown(Scored(rows, {"class_counts": COUNTS}))
    nothing = {"num_missed": 0, "many": None, "medium": None, "few": None}
    assert found["missed_ood"] == {"a": nothing}
    assert [row["name"] for row in found["classes"]] == ["0", "1", "2", "3"]


def test_bootstrap_is_seeded_and_surrounds_the_value(scored, metrics):
    found = evaluation.bootstrap(scored, samples=100, seed=3)
    assert found == evaluation.bootstrap(scored, samples=100, seed=3)
    assert found != evaluation.bootstrap(scored, samples=100, seed=4)
    assert set(found["ood"]) == {"far", "near"}
    for values, intervals in (
        (metrics["mean"], found["mean"]),
        *((metrics["ood"][name], found["ood"][name]) for name in ("far", "near")),
    ):
        assert set(intervals) == {"auroc", "fpr95_ood_pos", "fpr95_id_pos"}
        for key, interval in intervals.items():
            assert interval["low"] <= values[key] <= interval["high"]
            assert 0 < interval["std"] < 0.2


def test_bootstrap_is_as_wide_as_repeated_experiments():
    """The spread of AUROC over 200 fresh data sets, against one data set's bootstrap."""
    fresh = [
        evaluation.evaluate(make_scored(seed))["ood"]["near"]["auroc"] for seed in range(100, 300)
    ]
    widths = [
        evaluation.bootstrap(make_scored(seed), samples=100)["ood"]["near"]["auroc"]["std"]
        for seed in range(5)
    ]
    assert np.mean(widths) == pytest.approx(np.std(fresh), rel=0.25)


def test_bootstrap_of_a_set_does_not_depend_on_its_neighbours(scored):
    alone = Scored({key: scored.rows[key] for key in ("test", "ood_near")}, scored.attributes)
    found = evaluation.bootstrap(alone, samples=20)
    assert found["ood"]["near"] == evaluation.bootstrap(scored, samples=20)["ood"]["near"]
    assert found["mean"] == found["ood"]["near"]


def test_all_sets_see_the_same_draws_of_test_rows(scored):
    """Two equal sets with their own draws: independent draws would shrink the mean's spread."""
    rng = np.random.default_rng(0)
    test = rows_of(rng.normal(size=40), np.zeros(40))
    outliers = rng.normal(1, 1, 40_000)
    rows = {"test": test, **{f"ood_{k}": rows_of(outliers, [-1] * 40_000) for k in "abcd"}}
    found = evaluation.bootstrap(Scored(rows), samples=40)
    single = found["ood"]["a"]["auroc"]["std"]
    assert found["mean"]["auroc"]["std"] == pytest.approx(single, rel=0.1)


@pytest.mark.parametrize(("samples", "seed"), [(1, 0), (20, -1)])
def test_bootstrap_needs_samples_and_a_seed(scored, samples, seed):
    sentence = f"samples is {samples} and seed is {seed}; an interval needs at least 2"
    with pytest.raises(ConfigError, match=sentence):
        evaluation.bootstrap(scored, samples=samples, seed=seed)


def test_metrics_are_written_sorted_and_replaced_whole(tmp_path, metrics):
    path = tmp_path / "results" / "metrics.json"
    evaluation.write_metrics(path, metrics)
    first = path.read_bytes()
    assert json.loads(first) == metrics
    evaluation.write_metrics(path, json.loads(first))
    assert path.read_bytes() == first
    keys = list(json.loads(first))
    assert keys == sorted(keys)
    with pytest.raises(ValueError, match="JSON"):
        evaluation.write_metrics(path, {"auroc": float("nan")})
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_plots(tmp_path, scored, metrics):
    plots.write_plots(scored, tmp_path / "plots")
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
    alarms = evaluation.false_alarms(scored)
    assert float(groups[5]["false_alarms"]) == alarms["near"]["few"]


def test_a_table_has_the_columns_of_its_papers(metrics):
    heading, far, near, mean = tables.table_rows(metrics, "pascl")
    assert heading == ["OOD set", "AUROC", "AUPR", "FPR95"]
    assert [row[0] for row in (far, near, mean)] == ["far", "near", "mean"]
    values = metrics["ood"]["near"]
    expected = [values[key] for key in ("auroc", "ap_out", "fpr95_ood_pos")]
    assert near[1:] == [f"{100 * value:.2f}" for value in expected]
    himplos = dict(zip(*tables.table_rows(metrics, "himplos")[::3], strict=True))
    assert himplos["FPR95"] == f"{100 * metrics['mean']['fpr95_id_pos']:.2f}"
    assert himplos["AUPR-in"] == f"{100 * metrics['mean']['ap_in']:.2f}"


@pytest.mark.parametrize("name", COLUMNS)
def test_all_columns_make_both_tables(metrics, name):
    rows = tables.table_rows(metrics, name)
    lines = tables.markdown_table(metrics, name).splitlines()
    assert lines[0] == f"| {' | '.join(rows[0])} |"
    assert lines[1] == "| --- |" + " ---: |" * (len(rows[0]) - 1)
    assert len(lines) == len(rows) + 1
    text = tables.text_table(metrics, name).splitlines()
    assert len({len(line) for line in text[: len(rows)]}) == 1
    assert text[-2].startswith(f"ID: accuracy {100 * metrics['id']['accuracy']:.2f}, many ")
    assert text[-1].startswith("percent; ")
    for title, key in columns_of(name):
        assert f"{title} is {key}" in text[-1]


def test_tables_show_a_dash_for_an_empty_group(metrics):
    without = {**metrics, "id": {**metrics["id"], "few": None}}
    assert "few -" in tables.text_table(without)


def test_unknown_columns(metrics):
    with pytest.raises(
        UnknownNameError, match=r"No columns 'pasc'\. Did you mean pascl\? Known: p"
    ):
        tables.markdown_table(metrics, "pasc")


def without(scored, *names):
    rows = {name: rows for name, rows in scored.rows.items() if name not in names}
    return Scored(rows, scored.attributes)


ALL = (evaluation.evaluate, evaluation.breakdown, evaluation.false_alarms, evaluation.bootstrap)


@pytest.mark.parametrize("function", ALL)
def test_missing_splits(scored, function):
    with pytest.raises(StoreError, match=r"no split test \(only train, ood_far, ood_near\)"):
        function(without(scored, "test"))
    with pytest.raises(StoreError, match=r"no OOD set \(only train, test\); score at least one"):
        function(without(scored, "ood_far", "ood_near"))


def test_missing_class_counts(scored):
    with pytest.raises(StoreError, match="has no class_counts; run the score stage again"):
        evaluation.evaluate(Scored(scored.rows, {}))


def test_a_set_of_relabelled_rows_only(scored):
    rows = {**scored.rows, "ood_c": rows_of([1, 2], [0, 3])}
    with pytest.raises(DataError, match="all 2 rows of ood_c carry a class label"):
        evaluation.evaluate(Scored(rows))


def test_classes_out_of_range(scored):
    rows = {**scored.rows, "ood_c": rows_of([1, 2], [-1, 7])}
    with pytest.raises(DataError, match=r"ID labels beside c are no class .*value 7"):
        evaluation.false_alarms(Scored(rows))
    # Two of 40 outliers score lowest, so they are missed; their predictions are grouped.
    rows["ood_c"] = rows_of([-9, *range(39)], [-1] * 40, [5] * 40)
    with pytest.raises(DataError, match=r"predictions of c are no class .*value 5"):
        evaluation.breakdown(Scored(rows))
    rows["test"] = rows_of([1, 2], [0, -1])
    with pytest.raises(DataError, match=r"1 of 2 labels are no class .*row 1, value -1"):
        evaluation.evaluate(Scored(rows))


def test_a_real_store_gives_the_same_numbers(tmp_path, scored, metrics):
    rows = {name: len(split) for name, split in scored.rows.items()}
    with ScoreWriter(tmp_path / "scores.zarr", rows, scored.attributes) as writer:
        for name, split in scored.rows.items():
            writer.append(name, split)
    store = ScoreStore.open(tmp_path / "scores.zarr")
    assert evaluation.evaluate(store) == metrics
    assert evaluation.breakdown(store) == evaluation.breakdown(scored)


def test_a_large_evaluation_takes_no_time():
    """One million ID and one million OOD rows; a loop over rows would take minutes."""
    rng = np.random.default_rng(0)
    rows = {
        "test": rows_of(rng.normal(size=10**6), rng.integers(0, 4, 10**6)),
        "ood_a": rows_of(rng.normal(1, 1, 10**6), np.full(10**6, -1)),
    }
    start = time.perf_counter()
    evaluation.evaluate(Scored(rows))
    assert time.perf_counter() - start < 20
