import json

import pytest


def test_published_settings_are_a_start(ltood, store, tmp_path):
    chosen = ["--method", "react", "--method", "msp", "--published", "imagenet-resnet50"]
    ltood("compare", "--store", store, "--out", tmp_path, *chosen, "--set", "react.percentile=80")
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    settings = next(row["settings"]["method"] for row in rows if row["method"] == "react")
    assert (settings["clip"], settings["percentile"]) == (1.0, 80.0)


def test_settings_of_what_is_not_compared_are_refused(ltood, store, tmp_path):
    arguments = ("--method", "msp", "--set", "knn.k=3")
    said = ltood("compare", "--store", store, "--out", tmp_path, *arguments, code=1).stderr
    assert "knn" in said
    assert list(tmp_path.iterdir()) == []


def test_the_leaderboard_is_printed_and_written(ltood, store, tmp_path):
    chosen = ["--method", "knn", "--method", "mahalanobis", "--set", "knn.k=3"]
    arguments = ("--store", store, "--out", tmp_path, *chosen, "--columns", "himplos")
    shown = ltood("compare", *arguments).stdout
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    settings = {row["title"]: row["settings"]["method"] for row in rows}
    assert settings.keys() == {"knn", "mahalanobis"}
    assert settings["knn"]["k"] == 3
    heading, first, *_ = shown.splitlines()
    assert heading.split()[:4] == ["mean", "FPR95", "mean", "AUROC"]
    assert heading.endswith("fit s  score s")
    assert first.split()[0] == rows[0]["title"]
    assert "AUPR-out is ap_out" in shown


@pytest.mark.parametrize(
    ("option", "value"), [("--columns", "pasl"), ("--method", "kn"), ("--set", "kn.k=3")]
)
def test_wrong_names_are_refused_before_reading(ltood, tmp_path, option, value):
    out = tmp_path / "out"
    said = ltood("compare", "--store", tmp_path, "--out", out, option, value, code=1).stderr
    assert value.partition(".")[0] in said
    assert not out.exists()
