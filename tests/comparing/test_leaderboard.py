"""The leaderboard as text and as files."""

import csv
import json

import pytest

from ltood.comparing.leaderboard import markdown_table, text_table, write_leaderboard
from ltood.comparing.plan import Config
from ltood.comparing.running import compare, nothing_compared
from ltood.comparing.scores import ScoreKeeper
from ltood.core.errors import StoreError, UnknownNameError
from tests.comparing.compare_samples import (
    SETTINGS,
    fails_to_fit,
)

CONFIG = Config(("energy", "knn"), ("none", "patt"))


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaderboard")
    write_leaderboard(folder, *compare(store, CONFIG, SETTINGS, device="cpu"))
    return folder


@pytest.fixture(scope="module")
def board(written):
    return json.loads((written / "leaderboard.json").read_text())


def test_all_but_timings_is_the_same_on_every_run(store, written, tmp_path):
    write_leaderboard(tmp_path, *compare(store, CONFIG, SETTINGS, device="cpu"))
    names = ["leaderboard.csv", "leaderboard.json", "leaderboard.md", "timings.csv"]
    assert sorted(path.name for path in written.iterdir()) == names
    for name in names[:3]:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
        assert "seconds" not in (written / name).read_text()


def test_the_table_holds_every_number(written, board):
    lines = read_csv(written / "leaderboard.csv")
    assert [line["title"] for line in lines] == [row["title"] for row in board["rows"]]
    for line, row in zip(lines, board["rows"], strict=True):
        expected = {
            "auroc": row["mean"]["auroc"],
            "accuracy": row["id"]["accuracy"],
            "few": row["id"]["few"],
            "fpr95_ood_pos/near": row["ood"]["near"]["fpr95_ood_pos"],
            "false_alarms_few": row["mean"]["false_alarms"]["few"],
            "false_alarms_few/far": row["ood"]["far"]["false_alarms"]["few"],
        }
        assert {key: float(line[key]) for key in expected} == expected


def test_timings_name_each_row(written):
    timings = read_csv(written / "timings.csv")
    assert {line["title"] for line in timings} == {"energy", "knn", "patt+energy", "patt+knn"}
    assert all(float(line["score_seconds"]) > 0 for line in timings)


def test_the_best_row_comes_first_in_markdown(board):
    table = markdown_table(board).splitlines()
    assert table[2].startswith("|  | mean AUROC | mean AUPR | mean FPR95 | far | near | FA many")
    best = board["rows"][0]
    assert table[4].startswith(f"| {best['title']} | {100 * best['mean']['auroc']:.2f} |")


def test_a_failed_row_keeps_its_place_in_every_file(store, tmp_path, monkeypatch):
    fails_to_fit(monkeypatch)
    board, timings = compare(store, Config(("energy", "knn")), SETTINGS, device="cpu")
    write_leaderboard(tmp_path, board, timings, "himplos")
    last = read_csv(tmp_path / "leaderboard.csv")[-1]
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


def test_without_ood_sets_the_empty_board_says_what_adds_one(store, tmp_path, monkeypatch):
    monkeypatch.setattr(type(store), "provenance", {"dataset": {"name": "folder"}})
    board = nothing_compared(store, ScoreKeeper(tmp_path / "compared"))
    write_leaderboard(tmp_path, board, [])
    assert "datasets.folder.ood" in (tmp_path / "leaderboard.md").read_text()
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == board


def test_unknown_columns_are_refused(store):
    with pytest.raises(UnknownNameError, match=r"No columns 'pasl'. Did you mean pascl"):
        text_table({"rows": [], "left_out": []}, [], "pasl")


def test_a_leaderboard_is_not_written_into_a_store(store, written):
    before = sorted(path.name for path in store.path.iterdir())
    with pytest.raises(StoreError, match=store.path.name):
        write_leaderboard(store.path, *compare(store, CONFIG, SETTINGS, device="cpu"))
    assert sorted(path.name for path in store.path.iterdir()) == before
