"""Many methods in one pass give what one method after the other gives."""

import csv
import json
from itertools import product

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ltood.cli import app
from ltood.comparing.leaderboard import check_any, markdown_table, text_table, write_leaderboard
from ltood.comparing.plan import Combination, Config, by_package, names_or_all, parse_settings
from ltood.comparing.running import compare
from ltood.comparing.timing import TimedBatch, TimedInputs, Timer, Timing
from ltood.core.errors import ConfigError, LtoodError, StoreError, UnknownNameError
from ltood.core.registry import available
from ltood.evaluation.measures import Evaluation
from ltood.methods import energy, relation
from ltood.ops import pairs
from ltood.scoring.run import score_store
from ltood.scoring.slots import EntrySpec
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureSplit, FeatureStore

SETTINGS = {"methods": {"knn": {"k": 3}}, "normalisers": {"imood": {"scale": 0.5}}}


def make_store(
    path, *, splits=("train", "test", "aux", "ood_far", "ood_near"), local=False
) -> FeatureStore:
    rng = np.random.default_rng(3)
    folder = path / "in"
    folder.mkdir()
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    counts = np.array([40, 20, 12, 8])
    np.savez(folder / "head.npz", weight=weight, bias=bias, class_counts=counts)
    labels = {
        "train": np.repeat(np.arange(4), counts),
        "test": np.arange(30) % 4,
        "aux": np.full(15, -1),
        "ood_far": np.full(25, -1),
        # Two rows show ID classes, as in semantically coherent sets.
        "ood_near": np.array([-1] * 20 + [0, 3]),
    }
    for name in splits:
        centre = 1.5 * np.eye(5, 6)[labels[name]]
        features = np.abs(centre + rng.normal(size=(len(labels[name]), 6)))
        key = "sc_label" if name.startswith("ood") else "labels"
        given = {} if name == "aux" else {key: labels[name]}
        if local:
            given["local"] = features[:, None] * rng.uniform(size=(1, 3, 6))
        np.savez(folder / f"{name}.npz", features=features, **given)
    return import_folder(folder, path / "features.zarr")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("compare"))


def by_title(board):
    return {row["title"]: row for row in board["rows"]}


@pytest.mark.parametrize("batch_bytes", [256 * 2**20, 100])
def test_each_row_equals_the_method_on_its_own(store, tmp_path, monkeypatch, batch_bytes):
    monkeypatch.setattr("ltood.scoring.sources.BATCH_BYTES", batch_bytes)
    slots = (("none", "patt"), ("energy", "knn", "himplos"), ("none", "imood"))
    board, _ = compare(store, Config(slots[1], slots[0], slots[2]), SETTINGS, device="cpu")
    rows = by_title(board)
    assert len(rows) == 12
    for names in product(*slots):
        combination = Combination(*names)
        scores = score_store(
            store,
            tmp_path / f"{combination.title}.zarr",
            EntrySpec(names[1], SETTINGS["methods"].get(names[1], {})),
            EntrySpec(names[0]),
            EntrySpec(names[2], SETTINGS["normalisers"].get(names[2], {})),
            device="cpu",
        )
        row, evaluation = rows[combination.title], Evaluation(scores)
        metrics, alarms = evaluation.metrics, evaluation.false_alarms
        assert (row["calibrator"], row["method"], row["normaliser"]) == names
        assert row["status"] == "ok"
        assert row["id"] == metrics["id"]
        for name, values in metrics["ood"].items():
            found = dict(row["ood"][name])
            assert found.pop("false_alarms") == alarms[name]
            assert found == pytest.approx(values, abs=1e-12)
        means = dict(row["mean"])
        groups = means.pop("false_alarms")
        assert means == pytest.approx(metrics["mean"], abs=1e-12)
        expected = {key: np.mean([of[key] for of in alarms.values()]) for key in groups}
        assert groups == pytest.approx(expected)
        assert row["settings"]["method"] == scores.attributes["method"]["settings"]
        assert row["in_use"].get("method", {}) == scores.attributes["method"]["in_use"]
    assert rows["energy"]["ood"]["near"]["num_relabelled"] == 2


def test_patches_are_calibrated_as_by_the_score_command(tmp_path):
    store = make_store(tmp_path, local=True)
    board, _ = compare(store, Config(("l_mcm",), ("patt",), ("none",)), {}, device="cpu")
    scores = score_store(
        store, tmp_path / "s.zarr", EntrySpec("l_mcm"), EntrySpec("patt"), device="cpu"
    )
    found = by_title(board)["patt+l_mcm"]["ood"]["far"]
    wanted = Evaluation(scores).metrics["ood"]["far"]
    assert found["auroc"] == pytest.approx(wanted["auroc"], abs=1e-12)


def count_reads(monkeypatch):
    read = []
    batches = FeatureSplit.batches

    def counted(self, *arguments, **options):
        read.append(self.name)
        return batches(self, *arguments, **options)

    monkeypatch.setattr(FeatureSplit, "batches", counted)
    return read


def test_test_rows_are_read_once_whatever_is_compared(store, monkeypatch):
    read = count_reads(monkeypatch)
    compare(store, Config(calibrators="all", normalisers="all"), SETTINGS, device="cpu")
    assert [name for name in read if name not in ("train", "aux")] == [
        *("test", "ood_far", "ood_near")
    ]


def test_statistics_of_the_training_rows_are_shared(store, monkeypatch):
    passes = []
    for methods in (("mahalanobis",), ("nearest_class_mean",)):
        read = count_reads(monkeypatch)
        compare(store, Config(methods), {}, device="cpu")
        passes.append(read.count("train"))
        monkeypatch.undo()
    read = count_reads(monkeypatch)
    compare(store, Config(("mahalanobis", "nearest_class_mean")), {}, device="cpu")
    assert min(passes) > 0
    assert read.count("train") == max(passes)


def test_all_methods_run_and_the_best_comes_first(store):
    board, timings = compare(store, Config(), SETTINGS, device="cpu")
    left_out = {row["title"] for row in board["left_out"]}
    assert {row["title"] for row in board["rows"]} == set(available("methods")) - left_out
    assert {"energy", "knn", "mahalanobis"} <= set(board["auroc"])
    values = [row["mean"]["auroc"] for row in board["rows"] if row["status"] == "ok"]
    assert values == sorted(values, reverse=True)
    assert board["auroc"] == {
        title: row["mean"]["auroc"]
        for title, row in by_title(board).items()
        if row["status"] == "ok"
    }
    assert {line["title"] for line in timings} == set(board["auroc"])
    assert all(value >= 0 for line in timings for key, value in line.items() if "seconds" in key)


def fails_to_fit(monkeypatch):
    def fit(self, inputs):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(energy.Entry, "_fit", fit)
    return "RuntimeError: no luck"


def fails_on_an_ood_set(monkeypatch):
    score = energy.Entry._score

    def fussy(self, batch):
        if (batch.labels < 0).any():
            raise ConfigError("methods.energy dislikes outliers.")
        return score(self, batch)

    monkeypatch.setattr(energy.Entry, "_score", fussy)
    return "methods.energy dislikes outliers."


def gives_no_number(monkeypatch):
    def score(self, batch):
        return torch.full((len(batch),), torch.nan)

    monkeypatch.setattr(energy.Entry, "_score", score)
    return "method energy gave 30 scores that are not finite in split test"


@pytest.mark.parametrize("fail", [fails_to_fit, fails_on_an_ood_set, gives_no_number])
def test_a_failing_method_says_why_and_the_others_go_on(store, monkeypatch, fail):
    config = Config(("energy", "knn", "mahalanobis"), normalisers=("none", "imood"))
    good, _ = compare(store, config, SETTINGS, device="cpu")
    reason = fail(monkeypatch)
    board, timings = compare(store, config, SETTINGS, device="cpu")
    failed = board["rows"][-2:]
    assert [row["title"] for row in failed] == ["energy", "energy+imood"]
    for row in failed:
        assert row["status"] == "failed"
        assert row["reason"].startswith(reason)
        assert "\n" not in row["reason"]
    assert not {"energy", "energy+imood"} & {*board["auroc"], *(t["title"] for t in timings)}
    expected = [row for row in good["rows"] if row["method"] != "energy"]
    assert board["rows"][:-2] == expected
    assert f"failed: energy, energy+imood: {reason}" in text_table(board, timings)
    check_any(board)


def test_a_failing_normaliser_ends_only_its_own_row(store, monkeypatch):
    from ltood.normalisers import imood

    def normalise(self, scores, batch):
        return scores / 0

    monkeypatch.setattr(imood.Entry, "_normalise", normalise)
    board, _ = compare(
        store, Config(("energy",), normalisers=("none", "imood")), SETTINGS, device="cpu"
    )
    assert by_title(board)["energy"]["status"] == "ok"
    assert (
        "normaliser imood gave 30 scores that are not" in by_title(board)["energy+imood"]["reason"]
    )


def test_a_failing_calibrator_ends_only_the_rows_behind_it(store, monkeypatch):
    from ltood.calibrators import patt

    seen = []

    def transform(self, features):
        seen.append(len(features))
        raise RuntimeError("too wide")

    monkeypatch.setattr(patt.Entry, "_transform", transform)
    board, _ = compare(store, Config(("energy", "msp"), ("none", "patt")), {}, device="cpu")
    rows = by_title(board)
    assert set(board["auroc"]) == {"energy", "msp"}
    assert rows["patt+energy"]["reason"] == rows["patt+msp"]["reason"] == "RuntimeError: too wide"
    assert len(seen) == 1  # nobody looks through it again


def test_included_rows_are_there_once_and_count_as_named(store):
    config = Config(("energy",), ("none",), ("none",))
    own = Combination("patt", "react", "none")
    board, _ = compare(store, config, {}, include=[own], device="cpu")
    assert set(board["auroc"]) == {"energy", "patt+react"}
    board, _ = compare(
        store, config, {}, include=[Combination("none", "energy", "none")], device="cpu"
    )
    assert [row["title"] for row in board["rows"]] == ["energy"]
    unfit = Combination("none", "knn", "imood")
    board, _ = compare(store, Config(("energy", "knn")), {}, include=[unfit], device="cpu")
    assert by_title(board)["knn+imood"]["status"] == "failed"
    with pytest.raises(ConfigError, match=r"methods\.react"):
        compare(store, config, {"methods": {"react": {"percentile": -1}}}, include=[own])


def test_products_with_the_training_rows_are_taken_once_for_all_methods(store, monkeypatch):
    passes = []
    take = pairs.similarities
    monkeypatch.setattr(pairs, "similarities", lambda *given: passes.append(1) or take(*given))
    settings = {"methods": {name: {"k": 3} for name in ("knn", "nnguide")}}
    compare(store, Config(("knn", "nnguide", "relation")), settings, device="cpu")
    assert len(passes) == 3  # test and two OOD sets, a batch each


def test_a_fault_in_a_shared_pass_ends_its_own_row(store, monkeypatch):
    def start(self, queries):
        raise RuntimeError("no memory")

    monkeypatch.setattr(relation.Edges, "start", start)
    settings = {"methods": {name: {"k": 3} for name in ("knn", "nnguide")}}
    board, _ = compare(store, Config(("knn", "nnguide", "relation")), settings, device="cpu")
    assert set(board["auroc"]) == {"knn", "nnguide"}
    assert by_title(board)["relation"]["reason"] == "RuntimeError: no memory"


def test_what_does_not_fit_is_left_out_unless_it_was_named(store):
    board, timings = compare(store, Config(normalisers=("none", "imood")), {}, device="cpu")
    left_out = {row["title"]: row["reason"] for row in board["left_out"]}
    assert "no published scale for method knn" in left_out["knn+imood"]
    assert "energy+imood" in board["auroc"]
    # A reason that many share is said once or twice, however many methods there are.
    assert len(left_out) > 6
    assert 1 <= text_table(board, timings).count("there is no published scale") <= 2
    named = Config(("knn", "energy"), normalisers=("imood",))
    board, _ = compare(store, named, {}, device="cpu")
    assert board["left_out"] == []
    assert by_title(board)["knn+imood"]["status"] == "failed"
    assert by_title(board)["energy+imood"]["status"] == "ok"


def test_a_calibrator_without_its_needs_is_left_out_unless_it_was_named(tmp_path):
    bare = make_store(tmp_path, splits=("train", "test", "ood_far"))
    board, _ = compare(bare, Config(("energy",), "all"), {}, device="cpu")
    assert [row["title"] for row in board["left_out"]] == ["patt+energy"]
    board, _ = compare(bare, Config(("energy",), ("patt",)), {}, device="cpu")
    (row,) = board["rows"]
    assert row["status"] == "failed"
    assert "calibrator patt needs auxiliary outlier features" in row["reason"]
    with pytest.raises(
        LtoodError, match=r"no row has a result; the first, patt\+energy, says: cal"
    ):
        check_any(board)


@pytest.mark.parametrize("splits", [("train", "ood_far"), ("train", "test")])
def test_a_store_without_test_or_ood_rows_is_refused(tmp_path, splits):
    bare = make_store(tmp_path, splits=splits)
    with pytest.raises(StoreError, match=r"comparing needs test and at least one ood_<name>\."):
        compare(bare, Config(("energy",)), {}, device="cpu")


def test_bad_settings_are_refused_before_the_work(store, monkeypatch):
    read = count_reads(monkeypatch)
    with pytest.raises(ConfigError, match=r"methods.knn has no key 'kk'"):
        compare(store, Config(), {"methods": {"knn": {"kk": 3}}}, device="cpu")
    with pytest.raises(ConfigError, match=r"normalisers.imood.tau is -1"):
        compare(store, Config(normalisers="all"), {"normalisers": {"imood": {"tau": -1.0}}})
    assert read == []
    # Sections of entries that are not compared do not matter.
    compare(store, Config(("energy",)), {"methods": {"knn": {"kk": 3}}}, device="cpu")


def test_files_hold_every_number_and_are_the_same_on_every_run(store, tmp_path):
    config = Config(("energy", "knn"), ("none", "patt"))
    for run in ("a", "b"):
        write_leaderboard(tmp_path / run, *compare(store, config, SETTINGS, device="cpu"))
    names = ["leaderboard.csv", "leaderboard.json", "leaderboard.md", "timings.csv"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names[:3]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert "seconds" not in (tmp_path / "a" / name).read_text()
    board = json.loads((tmp_path / "a" / "leaderboard.json").read_text())
    with (tmp_path / "a" / "leaderboard.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["title"] for line in lines] == [row["title"] for row in board["rows"]]
    for line, row in zip(lines, board["rows"], strict=True):
        assert float(line["auroc"]) == row["mean"]["auroc"]
        assert float(line["accuracy"]) == row["id"]["accuracy"]
        assert float(line["few"]) == row["id"]["few"]
        assert float(line["fpr95_ood_pos/near"]) == row["ood"]["near"]["fpr95_ood_pos"]
        assert float(line["false_alarms_few"]) == row["mean"]["false_alarms"]["few"]
        assert float(line["false_alarms_few/far"]) == row["ood"]["far"]["false_alarms"]["few"]
    with (tmp_path / "a" / "timings.csv").open() as file:
        timings = list(csv.DictReader(file))
    assert {line["title"] for line in timings} == {"energy", "knn", "patt+energy", "patt+knn"}
    assert all(float(line["score_seconds"]) > 0 for line in timings)
    table = markdown_table(board).splitlines()
    assert table[2].startswith("|  | mean AUROC | mean AUPR | mean FPR95 | far | near | FA many")
    best = board["rows"][0]
    assert table[4].startswith(f"| {best['title']} | {100 * best['mean']['auroc']:.2f} |")


def test_a_failed_row_keeps_its_place_in_every_file(store, tmp_path, monkeypatch):
    fails_to_fit(monkeypatch)
    board, timings = compare(store, Config(("energy", "knn")), SETTINGS, device="cpu")
    write_leaderboard(tmp_path, board, timings, "himplos")
    with (tmp_path / "leaderboard.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["title"], last["status"], last["auroc"]) == ("energy", "failed", "")
    assert last["reason"] == "RuntimeError: no luck"
    assert "| energy | failed |" in (tmp_path / "leaderboard.md").read_text()
    assert "- failed: energy: RuntimeError: no luck" in (tmp_path / "leaderboard.md").read_text()


def test_a_group_without_test_rows_is_a_dash(store):
    board, timings = compare(store, Config(("energy",)), {}, device="cpu")
    row = board["rows"][0]
    row["mean"]["false_alarms"]["few"] = None
    line = text_table(board, timings).splitlines()[1].split()
    assert line[0] == "energy"
    assert line[-3] == "-"


def test_unknown_columns_are_refused(store):
    with pytest.raises(UnknownNameError, match=r"No columns 'pasl'. Did you mean pascl"):
        text_table({"rows": [], "left_out": []}, [], "pasl")


def test_titles_leave_none_out():
    assert Combination("none", "knn", "none").title == "knn"
    assert Combination("patt", "knn", "imood").title == "patt+knn+imood"


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ({"methods": ()}, "compare.methods is empty"),
        ({"calibrators": ("none", "none")}, "compare.calibrators names none twice"),
        ({"normalisers": ("imod",)}, "No normaliser 'imod'. Did you mean imood"),
    ],
)
def test_names_are_checked(slots, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config(**slots)


def test_settings_of_the_command_line():
    settings = parse_settings(["knn.k=3", "knn.normalise=false", "patt.low=0.1"])
    assert settings == {"knn": {"k": 3, "normalise": False}, "patt": {"low": 0.1}}
    sorted_ = by_package(settings, Config(("knn",), ("patt",)))
    assert sorted_["methods"] == {"knn": {"k": 3, "normalise": False}}
    assert sorted_["calibrators"] == {"patt": {"low": 0.1}}
    for bad in ("k=3", ".k=3", "knn.=3"):
        with pytest.raises(ConfigError, match=r"names no entry; write NAME.KEY=VALUE"):
            parse_settings([bad])
    with pytest.raises(ConfigError, match="--set patt: patt is not compared; name it too, or set"):
        by_package(settings, Config(("knn",)))
    assert names_or_all(["all"]) == "all"
    assert names_or_all(["a", "b"]) == ("a", "b")


def test_shared_seconds_are_kept_apart_from_own():
    now = [0.0]
    timer, spent = Timer(clock=lambda: now[0]), Timing()
    inputs = TimedInputs(timer=timer)
    batch = TimedBatch({"features": torch.zeros(1, 1)}, timer=timer)

    def work(seconds):
        now[0] += seconds

    def outer():
        inputs.cached("inner", lambda: work(2))
        work(4)

    with timer.add_to(spent):
        inputs.cached("outer", outer)
        batch.cached("inner", lambda: work(8))
        work(1)
    # Shared work within shared work counts once.
    assert spent == Timing(own=1, shared=14)
    again = Timing()
    with timer.add_to(again):
        inputs.cached("outer", outer)
    assert again == Timing()

    def fail():
        work(16)
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), timer.add_to(again):
        fail()
    assert again == Timing(own=16)


def test_the_command_prints_and_writes_the_leaderboard(store, tmp_path):
    arguments = ["compare", "--store", str(store.path), "--out", str(tmp_path / "out")]
    arguments += ["--method", "knn", "--method", "mahalanobis", "--set", "knn.k=3"]
    result = CliRunner().invoke(app, [*arguments, "--calibrator", "none", "--columns", "himplos"])
    assert result.exit_code == 0, result.output
    board = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert {row["title"] for row in board["rows"]} == {"knn", "mahalanobis"}
    assert by_title(board)["knn"]["settings"]["method"]["k"] == 3
    heading, first, *_ = result.output.splitlines()
    assert heading.split()[:4] == ["mean", "FPR95", "mean", "AUROC"]
    assert heading.endswith("fit s  score s")
    assert first.split()[0] == board["rows"][0]["title"]
    assert "AUPR-out is ap_out" in result.output


def test_the_command_refuses_before_reading(tmp_path):
    for extra in (["--columns", "pasl"], ["--method", "kn"], ["--set", "kn.k=3"]):
        arguments = ["compare", "--store", str(tmp_path), "--out", str(tmp_path / "out"), *extra]
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, ConfigError), result.output
    assert not (tmp_path / "out").exists()


def test_the_plan_loads_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, ltood.comparing.plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
