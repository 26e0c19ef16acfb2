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
