import json


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
