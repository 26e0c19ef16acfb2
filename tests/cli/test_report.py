import shutil

import pytest


@pytest.fixture(scope="module")
def board(store, tmp_path_factory):
    """A leaderboard of two methods."""
    from ltood.comparing.leaderboard import write_leaderboard
    from ltood.comparing.plan import Config
    from ltood.comparing.running import compare
    from ltood.store.features import FeatureStore

    folder = tmp_path_factory.mktemp("board")
    config = Config(methods=("energy", "msp"))
    write_leaderboard(folder, *compare(FeatureStore.open(store), config, {}, device="cpu"))
    return folder / "leaderboard.json"


def test_the_title_is_escaped(ltood, scores, tmp_path):
    out = tmp_path / "new" / "report.html"
    ltood("report", "--scores", scores, "--out", out, "--title", "Mine & <yours>")
    assert "Mine &amp; &lt;yours&gt;" in out.read_text()


def test_a_leaderboard_is_shown_where_one_is_given(ltood, scores, board, tmp_path):
    out = tmp_path / "report.html"
    ltood("report", "--scores", scores, "--out", out)
    assert 'id="leaderboard"' not in out.read_text()
    ltood("report", "--scores", scores, "--out", out, "--leaderboard", board)
    assert 'id="leaderboard"' in out.read_text()


def test_a_missing_leaderboard_is_named(ltood, scores, tmp_path):
    missing = tmp_path / "none.json"
    out = tmp_path / "report.html"
    run = ltood("report", "--scores", scores, "--out", out, "--leaderboard", missing, code=1)
    assert "none.json" in run.stderr
    assert not out.exists()


def test_errors_are_shown_with_what_there_is(ltood, scores, store, tmp_path):
    out = tmp_path / "report.html"
    ltood("report", scores, "--features", store, "--out", out)
    text = out.read_text()
    assert "Clearest errors" in text
    assert "There are no pictures at hand" in text
    assert "training images with the most similar features" in text
    both = ("--images", tmp_path, "--paths", tmp_path)
    assert "--images and --paths" in ltood("report", scores, *both, "--out", out, code=1).stderr
    two = (scores, scores, "--features", store)
    assert "of one run" in ltood("report", *two, "--out", out, code=1).stderr


def test_the_detector_of_a_folder_is_told_of(ltood, scores, store, tmp_path):
    results, out = tmp_path / "my results", tmp_path / "report.html"
    shutil.copytree(scores, results / "final.zarr")
    given = ("--store", store, "--method", "energy", "--out", results / "detector.safetensors")
    ltood("export-detector", *given)
    ltood("report", results, "--out", out)
    assert 'id="threshold"' in out.read_text()
