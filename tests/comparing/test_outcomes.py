"""What fails or does not fit ends its own row, and says why."""

import pytest
import torch

from ltood.comparing.leaderboard import check_any, text_table
from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.errors import ConfigError, LtoodError
from ltood.methods import energy, relation
from tests.comparing.compare_samples import SETTINGS, by_title, fails_to_fit, make_store


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


def test_no_method_is_left_to_score(store):
    config, settings = Config(("knn",), ("none", "patt")), {"methods": {"knn": {"k": 1000}}}
    board, timings = compare(store, config, settings, device="cpu")
    assert board["auroc"] == {}
    assert timings == []
    assert [row["title"] for row in board["rows"]] == ["knn", "patt+knn"]
    assert all("methods.knn.k is 1000" in row["reason"] for row in board["rows"])
    with pytest.raises(LtoodError, match=r"knn: methods\.knn"):
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
    assert len(seen) == 1  # it is not searched again


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
    with pytest.raises(LtoodError, match=r"patt\+energy: cal"):
        check_any(board)
