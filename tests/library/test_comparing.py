import csv
import io
import sys
import types

import numpy as np
import pytest
import torch
from conftest import make_toy

import ltood
from ltood.comparing.plan import Config
from ltood.comparing.running import compare as run
from ltood.core.errors import ConfigError, DataError, UnknownNameError
from ltood.core.extras import EXTRAS
from ltood.core.inputs import Need
from ltood.core.registry import available, constant, flag
from ltood.evaluation.binding import read_bound
from ltood.metrics import METRICS
from ltood.runtime.files import to_json_bytes
from ltood.store.exchange import import_folder


def sets():
    toy = make_toy()
    train = next(iter(toy.inputs.train.batches()))
    ood = {"noise": toy.ood_batch.features, "rolled": toy.id_batch.features.roll(3, dims=1)}
    return {
        "train": (train.features.numpy(), train.labels.numpy()),
        "test": (toy.id_batch.features.numpy(), (torch.arange(40) % 4).numpy()),
        "ood": {name: rows.numpy() for name, rows in ood.items()},
        "head": toy.head,
        "aux": make_toy(seed=2).ood_batch.features.numpy(),
    }


METHODS = (ltood.KNN(k=5), "energy", "mahalanobis")


@pytest.fixture(scope="module")
def board():
    return ltood.compare(**sets(), methods=METHODS, calibrators=("none", "patt"), device="cpu")


def test_it_is_the_leaderboard_of_the_command_line(board, tmp_path):
    given = sets()
    arrays = {key: value.numpy() for key, value in given["head"].arrays().items()}
    np.savez(tmp_path / "head.npz", **arrays)
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", features=given[split][0], labels=given[split][1])
    np.savez(tmp_path / "aux.npz", features=given["aux"])
    for name, rows in given["ood"].items():
        np.savez(tmp_path / f"ood_{name}.npz", features=rows)
    store = import_folder(tmp_path, tmp_path / "features.zarr")
    config = Config(("knn", "energy", "mahalanobis"), ("none", "patt"))
    expected, _ = run(store, config, {"methods": {"knn": {"k": 5}}}, device="cpu")
    assert board.content["rows"] == expected["rows"]
    opened = ltood.open_features(tmp_path / "features.zarr")
    folder = str(tmp_path / "features.zarr")
    by_name = ltood.compare(folder, methods=METHODS, calibrators=["none", "patt"], device="cpu")
    assert by_name.content == expected
    again = ltood.compare(opened, methods=METHODS, calibrators=["none", "patt"], device="cpu")
    assert again.content == expected
    with pytest.raises(DataError, match="give no arrays too"):
        ltood.compare(opened, train=given["train"])


def test_order(board):
    assert len(board) == 6
    means = [row["mean"]["auroc"] for row in board.rows]
    assert means == sorted(means, reverse=True)
    for metric in METRICS:
        for ood in (None, "noise"):
            rows = board.sort(metric, ood).rows
            values = [(row["ood"][ood] if ood else row["mean"])[metric] for row in rows]
            assert values == sorted(values, reverse=METRICS[metric].higher_is_better)
    with pytest.raises(ConfigError, match="no metric 'aurok'"):
        board.sort("aurok")
    with pytest.raises(ConfigError, match="no OOD set 'svhn'"):
        board.sort(ood="svhn")


def test_tables(board, tmp_path):
    title = board.rows[0]["title"]
    assert repr(board).splitlines()[1].startswith(title)
    assert f"| {title} |" in board.to_markdown()
    percent = f"{100 * board.rows[0]['mean']['auroc']:.2f}"
    assert percent in board._repr_html_()
    assert board._repr_html_().count("<tr>") == 7
    lines = board.to_latex().splitlines()
    assert lines[1] == r"\toprule"
    assert lines[2].endswith(r"\\")
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == 6
    assert body[0].startswith(f"{title} & {percent} & ")
    assert lines[0] == rf"\begin{{tabular}}{{l{'r' * body[0].count('&')}}}"
    other = board.with_columns("openood")
    assert r"FPR@95" in other.to_latex()
    assert "fpr95_ood_pos_first" in repr(other)
    with pytest.raises(UnknownNameError, match="No columns"):
        board.with_columns("nobody")
    rows = list(csv.DictReader(io.StringIO(board.to_csv(tmp_path / "board.csv"))))
    assert (tmp_path / "board.csv").read_text() == board.to_csv()
    assert [row["title"] for row in rows] == [row["title"] for row in board.rows]
    assert float(rows[0]["auroc/noise"]) == board.rows[0]["ood"]["noise"]["auroc"]


def test_latex_is_escaped():
    given = sets() | {"ood": {"near_set": sets()["ood"]["noise"]}}
    board = ltood.compare(**given, methods=["energy", "nearest_class_mean"], device="cpu")
    text = board.to_latex().partition("%")[0]
    assert r"near\_set" in text
    assert r"nearest\_class\_mean" in text


def test_data_frames(board, monkeypatch):
    # pandas need not be installed; only its constructor is used.
    found = types.SimpleNamespace(DataFrame=list)
    monkeypatch.setitem(sys.modules, "pandas", found)
    assert [row["title"] for row in board.to_pandas()] == [row["title"] for row in board.rows]


def test_failures_are_rows_with_reasons():
    given = {key: value for key, value in sets().items() if key not in ("head", "aux")}
    board = ltood.compare(**given, methods=["knn", "msp", "energy"], device="cpu")
    assert [row["method"] for row in board.rows] == ["knn"]
    assert set(board.failures) == {"msp", "energy"}
    assert all("give head=" in reason for reason in board.failures.values())
    assert "failed" in repr(board)
    assert "give head=" in repr(board)


def test_reasons_name_settings_as_python_does(tmp_path):
    given = sets()
    few = given | {"train": tuple(rows[:20] for rows in given["train"])}
    board = ltood.compare(**few, methods=["knn", "energy"], normalisers="all", device="cpu")
    reason = "KNN: k is 50 but there are only 20 training rows"
    assert board.failures["knn"].startswith(reason)
    assert board.failures["knn+imood"].startswith("ImOOD: scale is auto, but there is no published")
    assert f"failed: knn: {reason}" in repr(board)
    (tmp_path / "leaderboard.json").write_bytes(to_json_bytes(board.content))
    (features,) = (
        made["sha256"] for made in board.content["made_from"] if made["name"] == "features"
    )
    assert read_bound(tmp_path / "leaderboard.json", "compare", features=features)
    alone = ltood.compare(**few, methods=ltood.KNN(k=50), device="cpu")
    assert alone.failures == {"knn": board.failures["knn"]}
    assert len(alone) == 0


def test_all_methods_with_and_without_a_head():
    held_out = make_toy(seed=3).id_batch
    given = {**sets(), "val": (held_out.features.numpy(), held_out.labels.numpy())}
    board = ltood.compare(**given, device="cpu")
    every = {name for name in available("methods") if not flag("methods", name, "NAMED_ONLY")}
    assert {row["method"] for row in board.rows} | set(board.failures) == every
    read_extras = {name for name in every if constant("methods", name, EXTRAS)}
    assert set(board.failures) == {"gl_mcm", "l_mcm"} | read_extras
    given.pop("head")
    headless = ltood.compare(**given, device="cpu")
    assert {"knn", "mahalanobis", "nearest_class_mean"} <= {row["method"] for row in headless.rows}
    by_method = {row["method"]: row["mean"] for row in board.rows}
    for row in headless.rows:
        # What reads no head gives the same without one; classes come from the nearest mean.
        own = {key: row["mean"][key] for key in METRICS}
        assert own == {key: by_method[row["method"]][key] for key in METRICS}
    x, y = given["train"]
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    nearest = ((given["test"][0][:, None] - means) ** 2).sum(2).argmin(1)
    assert headless.rows[0]["id"]["accuracy"] == (nearest == given["test"][1]).mean()


def test_relabelled_rows_and_local_features():
    toy, given = make_toy(), sets()
    labels = np.where(np.arange(40) < 10, 1, -1)
    given["ood"] = {"noise": (given["ood"]["noise"], labels)}
    train = next(iter(toy.inputs.train.batches()))
    local = {"train": train.local, "test": toy.id_batch.local, "noise": toy.ood_batch.local}
    board = ltood.compare(**given, methods="gl_mcm", local=local, device="cpu")
    assert board.rows[0]["ood"]["noise"]["num_relabelled"] == 10
    with pytest.raises(DataError, match="local names 'svhn'"):
        ltood.compare(**given, local={"svhn": toy.ood_batch.local})


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"test": None}, DataError, "test="),
        ({"ood": {}}, DataError, "ood="),
        ({"ood": np.zeros((3, 24))}, DataError, "ood="),
        ({"train": np.zeros((3, 24))}, DataError, "train="),
        ({"methods": ["ract"]}, ConfigError, "Did you mean react"),
        ({"methods": [ltood.KNN(k=1), ltood.KNN(k=2)]}, ConfigError, "name knn twice"),
        ({"methods": ltood.KNN}, ConfigError, "give a method or its name"),
        ({"methods": [ltood.PATT()]}, ConfigError, "give a method or its name"),
        ({"normalisers": [3]}, ConfigError, "normaliser is 3; give a normaliser or its name"),
        ({"methods": []}, ConfigError, "^compare: methods is empty"),
        ({"ood": {"a b": np.zeros((3, 24), np.float32)}}, ltood.LtoodError, "'ood_a b'"),
        ({"ood": {"a": np.zeros((3, 5), np.float32)}}, DataError, "ood_a features have 5"),
    ],
)
def test_what_is_refused(changed, error, match):
    with pytest.raises(error, match=match):
        ltood.compare(**sets() | {"methods": ["energy"]} | changed)


def test_held_out_rows_reach_the_methods(monkeypatch):
    seen = []

    class Watching(ltood.Energy):
        needs = frozenset({Need.VAL})

        def _fit(self, inputs):
            seen.extend(inputs.require_val().batches())
            return self

    monkeypatch.setattr("ltood.methods.energy.Entry", Watching)
    given = sets()
    without = ltood.compare(**given, methods=["energy"])
    assert "give val=" in without.content["rows"][0]["reason"]
    features, labels = given["test"]
    for val in (features, (features, labels)):
        seen.clear()
        assert ltood.compare(**given, val=val, methods=["energy"]).rows[0]["status"] == "ok"
        assert np.array_equal(seen[0].features, features)
        known = labels if isinstance(val, tuple) else np.full(len(features), -1)
        assert np.array_equal(seen[0].labels, known)
    local = {"val": np.ones((3, 2, 2), np.float32)}
    with pytest.raises(DataError, match="local names 'val'"):
        ltood.compare(**given, local=local)
