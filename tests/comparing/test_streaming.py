import pytest

from ltood.comparing.leaderboard import board_csv, flat_rows, markdown_table, text_table
from ltood.comparing.plan import Combination, Config
from ltood.comparing.running import compare
from ltood.core.building import EntrySpec
from ltood.evaluation.measures import Evaluation
from ltood.methods import doda
from ltood.scoring.run import score_store
from tests.comparing.compare_samples import by_title

SETTINGS = {"methods": {"doda": {"batch": 6, "window": 6, "orders": 3}}}


@pytest.fixture(scope="module")
def compared(store):
    config = Config(methods=("energy", "doda", "knn"))
    settings = {"methods": {**SETTINGS["methods"], "knn": {"k": 3}}}
    return compare(store, config, settings, device="cpu")


def test_a_row_equals_the_evaluation_of_its_scores(store, compared, tmp_path):
    row = by_title(compared[0])["doda"]
    spec = EntrySpec("doda", SETTINGS["methods"]["doda"])
    alone = Evaluation(score_store(store, tmp_path / "s.zarr", spec, device="cpu"))
    assert row["id"] == alone.metrics["id"]
    assert row["failures"] == alone.metrics["failures"]
    for name, values in alone.metrics["ood"].items():
        assert {**values, "false_alarms": alone.false_alarms[name]} == row["ood"][name]
    stream = alone.metrics["stream"]
    assert row["stream"]["order_dependent"] == stream["order_dependent"]
    assert row["stream"]["std"]["mean"]["auroc"] == stream["std"]["mean"]["auroc"]


def test_other_rows_are_as_without_it(store, compared):
    plain, _ = compare(store, Config(methods=("energy",)), {}, device="cpu")
    alone, among = by_title(plain)["energy"], by_title(compared[0])["energy"]
    assert {**alone, "uncertainty": None} == {**among, "uncertainty": None}
    assert alone["uncertainty"]["auroc"] == among["uncertainty"]["auroc"]
    assert "stream" not in by_title(compared[0])["energy"]


def test_tables_mark_it(compared):
    board, timings = compared
    for text in (markdown_table(board), text_table(board, timings)):
        assert "doda (transductive)" in text
        assert "±" in text
        assert "energy (transductive)" not in text
    (line,) = [line for line in flat_rows(board) if line["method"] == "doda"]
    assert line["transductive"] is True
    assert line["auroc@std"] == by_title(board)["doda"]["stream"]["std"]["mean"]["auroc"]
    assert b"auroc/far@std" in board_csv(board)
    assert {line["title"] for line in timings} == {"energy", "doda", "knn"}


def test_it_may_stand_alone(store):
    board, _ = compare(store, Config(methods=("doda",)), SETTINGS, device="cpu")
    assert [row["title"] for row in board["rows"]] == ["doda"]


def test_all_methods_are_without_it():
    assert "doda" not in Config().names("methods")
    assert "oodd" not in Config().names("methods")


def test_a_normaliser_behind_it_is_a_failure(store):
    config = Config(methods=("doda",), normalisers=("imood", "none"))
    settings = {**SETTINGS, "normalisers": {"imood": {"scale": 1.0}}}
    board, _ = compare(store, config, settings, device="cpu")
    assert [row["title"] for row in board["rows"] if row["status"] == "ok"] == ["doda"]
    (failed,) = [row for row in board["rows"] if row["status"] == "failed"]
    assert Combination("none", "doda", "imood").title == failed["title"]


def test_its_failure_ends_its_own_row(store, monkeypatch):
    def rate(self, batch):
        raise RuntimeError("no luck")

    monkeypatch.setattr(doda.Window, "rate", rate)
    board, _ = compare(store, Config(methods=("energy", "doda")), SETTINGS, device="cpu")
    rows = by_title(board)
    assert rows["energy"]["status"] == "ok"
    assert rows["doda"]["status"] == "failed"
