"""Many methods in one pass give what one method after the other gives."""

import shutil
from itertools import product

import numpy as np
import pytest

from ltood.comparing.leaderboard import flat_rows, table_cells
from ltood.comparing.plan import Combination, Config
from ltood.comparing.running import compare
from ltood.comparing.scores import ComparedScores, ScoreKeeper
from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, CorruptStoreError, DataError, StoreError
from ltood.evaluation.config import SetGroups
from ltood.evaluation.measures import Evaluation
from ltood.ops import pairs
from ltood.runtime.large import LIMIT
from ltood.scoring.run import score_store
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from tests.comparing.compare_samples import SETTINGS, by_title, count_reads, make_store
from tests.evaluation.score_samples import Scored


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


def test_groups_and_the_full_spectrum_are_those_of_the_evaluation(tmp_path):
    make_store(tmp_path)
    arrays = tmp_path / "in"
    shutil.copy(arrays / "test.npz", arrays / "csid_fog.npz")
    store = import_folder(arrays, tmp_path / "again.zarr")
    groups = SetGroups({"hard": ("near",), "both": ("far", "near")})
    config = Config(("energy", "knn"), ("none",), ("none",))
    board, _ = compare(store, config, SETTINGS, groups=groups, device="cpu")
    for name, row in by_title(board).items():
        spec = EntrySpec(name, SETTINGS["methods"].get(name, {}))
        scores = score_store(store, tmp_path / f"{name}.zarr", spec, device="cpu")
        wanted = Evaluation(scores, groups).metrics
        assert row["csid"] == wanted["csid"]
        assert row["failures"] == wanted["failures"]
        for found, expected in ((row, wanted), (row["full_spectrum"], wanted["full_spectrum"])):
            for group in groups.sets:
                means = dict(found["groups"][group])
                assert means.pop("false_alarms")
                assert means == pytest.approx(expected["groups"][group], abs=1e-12)
    line = flat_rows(board)[0]
    assert line["auroc@hard"] == line["auroc/near"] != line["auroc/near@full_spectrum"]
    heading = table_cells(board, "eat")[0]
    assert heading[-7:-3] == ["mean hard", "mean both", "far", "near"]


def test_scores_of_all_rows_are_kept_in_plain_files(store, tmp_path):
    config = Config(("energy", "knn", "bin_disc"), ("none", "patt"), ("none",))
    keeper = ScoreKeeper(tmp_path / "compared")
    board, _ = compare(store, config, SETTINGS, keeper=keeper, device="cpu")
    kept = ComparedScores.open(tmp_path / "compared")
    done = [row for row in board["rows"] if row["status"] == "ok"]
    assert list(kept.titles) == [row["title"] for row in done]
    assert kept.splits == ("test", "ood_far", "ood_near")
    for place, row in enumerate(done):
        rows = {name: kept.split(place, name) for name in kept.splits}
        attributes = {"class_counts": store.prior().counts.tolist()}
        found = Evaluation(Scored(rows, attributes)).metrics
        assert found["id"] == row["id"]
        assert found["mean"]["auroc"] == row["mean"]["auroc"]
    (tmp_path / "compared" / "test.scores.npy").write_bytes(b"x")
    with pytest.raises(CorruptStoreError, match=r"test\.scores\.npy"):
        kept.split(0, "test")
    with pytest.raises(DataError, match="nothing holds no scores"):
        ComparedScores.open(tmp_path / "nothing")


def test_a_group_of_an_unknown_set_is_refused_before_the_work(store):
    with pytest.raises(DataError, match=r"evaluation\.groups\.near names 'svhn'"):
        compare(store, Config(("energy",)), {}, groups=SetGroups({"near": ("svhn",)}))


def test_patches_are_calibrated_as_by_the_score_command(tmp_path):
    store = make_store(tmp_path, local=True)
    board, _ = compare(store, Config(("l_mcm",), ("patt",), ("none",)), {}, device="cpu")
    scores = score_store(
        store, tmp_path / "s.zarr", EntrySpec("l_mcm"), EntrySpec("patt"), device="cpu"
    )
    found = by_title(board)["patt+l_mcm"]["ood"]["far"]
    wanted = Evaluation(scores).metrics["ood"]["far"]
    assert found["auroc"] == pytest.approx(wanted["auroc"], abs=1e-12)


def test_test_rows_are_read_once_whatever_is_compared(store, monkeypatch):
    read = count_reads(monkeypatch)
    compare(store, Config(calibrators="all", normalisers="all"), SETTINGS, device="cpu")
    assert [name for name in read if name not in ("train", "aux")] == [
        *("test", "ood_far", "ood_near")
    ]


def test_all_methods_run_and_the_best_comes_first(store):
    board, timings = compare(store, Config(), SETTINGS, device="cpu")
    left_out = {row["title"] for row in board["left_out"]}
    assert {row["title"] for row in board["rows"]} == set(Config().names("methods")) - left_out
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


@pytest.mark.parametrize("splits", [("train", "ood_far"), ("train", "test")])
def test_a_store_without_test_or_ood_rows_is_refused(tmp_path, splits):
    bare = make_store(tmp_path, splits=splits)
    with pytest.raises(StoreError, match=r"comparing needs test and at least one ood_<name>\."):
        compare(bare, Config(("energy",)), {}, device="cpu")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_store_is_refused_and_fails_no_row(store, tmp_path, split):
    copy = shutil.copytree(store.path, tmp_path / "f.zarr")
    chunk = copy / split / "features/c/0/0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    with pytest.raises(CorruptStoreError, match=split):
        compare(FeatureStore.open(copy), Config(methods=["msp", "knn"]), SETTINGS, device="cpu")


def test_bad_settings_are_refused_before_the_work(store, monkeypatch):
    read = count_reads(monkeypatch)
    with pytest.raises(ConfigError, match=r"methods.knn has no key 'kk'"):
        compare(store, Config(), {"methods": {"knn": {"kk": 3}}}, device="cpu")
    with pytest.raises(ConfigError, match=r"normalisers.imood.tau is -1"):
        compare(store, Config(normalisers="all"), {"normalisers": {"imood": {"tau": -1.0}}})
    assert read == []
    # Sections of entries that are not compared do not matter.
    compare(store, Config(("energy",)), {"methods": {"knn": {"kk": 3}}}, device="cpu")


def test_rows_have_intervals_and_needs(store):
    config = Config(("energy", "knn", "mahalanobis"))
    board, _ = compare(store, config, {"methods": {"knn": {"k": 3}}}, device="cpu")
    best, *others = board["rows"]
    assert best["uncertainty"]["behind_best"] == {"mean": 0, "low": 0, "high": 0}
    for row in board["rows"]:
        bounds = row["uncertainty"]["auroc"]
        assert bounds["low"] <= row["mean"]["auroc"] <= bounds["high"]
    for row in others:
        gap = board["auroc"][best["title"]] - board["auroc"][row["title"]]
        assert row["uncertainty"]["behind_best"]["mean"] == gap
        assert row["uncertainty"]["behind_best"]["low"] <= gap
    needs = {row["title"]: row["needs"] for row in board["rows"]}
    assert needs == {"energy": [], "knn": ["train"], "mahalanobis": ["train"]}


def test_a_wrong_environment_variable_ends_the_comparison(store, monkeypatch):
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(ConfigError, match=LIMIT):
        compare(store, Config(("energy", "knn")), SETTINGS, device="cpu")
