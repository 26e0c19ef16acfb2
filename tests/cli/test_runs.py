"""`ltood runs`, `ltood report RUN ...` and `ltood figure`."""

import json

import pytest

from tests.runs.run_samples import Repository, files_of, write_scores


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    made = Repository(tmp_path_factory.mktemp("ä b") / "repository")
    made.experiment("first", "energy")
    made.experiment("second", "msp")
    return made.root


@pytest.fixture
def inside(repository, monkeypatch):
    monkeypatch.chdir(repository)
    return repository


def test_runs_are_listed(ltood, inside):
    assert "second" in ltood("runs").stdout
    listed = json.loads(ltood("runs", "--json", "--sort", "auroc").stdout)
    assert {run["name"] for run in listed} == {"first", "second"}
    assert listed[0]["settings"]["seed"] == 0


def test_runs_need_a_repository(ltood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "repository" in ltood("runs", code=1).stderr


def test_experiments_are_compared_without_a_trace(ltood, inside, tmp_path):
    before = files_of(inside)
    page, tables = tmp_path / "page.html", tmp_path / "ta bles"
    words = ("--out", page, "--tables", tables, "--samples", 20)
    done = ltood("report", "first", "mine=second", *words)
    assert str(page) in done.stdout
    assert "mine" in page.read_text()
    assert (tables / "differences.csv").read_text().startswith("Run,auroc,auroc_low,auroc_high")
    assert files_of(inside) == before


def test_one_run_has_the_report_and_tables_of_its_own(ltood, inside, tmp_path):
    ltood("report", "first", "--out", tmp_path / "page.html", "--tables", tmp_path / "tables")
    assert "Many, medium, few" in (tmp_path / "page.html").read_text()
    lines = (tmp_path / "tables" / "classes.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["ä b", "<i>", "c|d"]


def test_a_folder_of_metrics_has_figures_without_intervals(ltood, inside, tmp_path):
    from ltood.evaluation.binding import bind, write_bound
    from ltood.evaluation.measures import Evaluation
    from ltood.store.scores import ScoreStore

    store = write_scores(tmp_path / "scores.zarr", "msp", seed=5)
    metrics = Evaluation(ScoreStore.open(store)).metrics
    (tmp_path / "old").mkdir()
    write_bound(tmp_path / "old" / "metrics.json", bind(metrics, scores="0"))
    tables = tmp_path / "tables"
    ltood("report", "first", tmp_path / "old", "--tables", tables, "--samples", 20)
    rows = (tables / "summary.csv").read_text().splitlines()
    old = dict(zip(rows[0].split(","), rows[2].split(","), strict=True))
    assert old["Run"] == "old"
    assert float(old["auroc"]) == metrics["mean"]["auroc"]
    assert old["auroc_low"] == ""


def test_figures_are_written_by_name_and_format(ltood, inside, tmp_path):
    out = tmp_path / "fi gures"
    words = ("--format", "svg", "--format", "png", "--dpi", 40, "--out", out)
    done = ltood("figure", "first", "--kind", "scores", *words)
    names = {"scores-far.svg", "scores-far.png", "scores-near.svg", "scores-near.png"}
    assert {file.name for file in out.iterdir()} == names
    assert len(done.stdout.splitlines()) == 4
    one = tmp_path / "roc.pdf"
    ltood("figure", "first", "second", "--kind", "roc-far", "--out", one)
    assert one.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("report",), "run"),
        (("report", "first"), "--out"),
        (("report", "first", "--by", "seed", "--out", "a.html"), "--by"),
        (("report", "first", "first", "--out", "a.html"), "first"),
        (("report", "first", "frist", "--out", "a.html"), "frist"),
        (("report", "first", "", "--out", "a.html"), "run"),
        (("report", "first", "=second", "--out", "a.html"), "="),
        (("report", "first#knn", "second", "--out", "a.html"), "comparison"),
        (("report", "first", "second", "--by", "", "--out", "a.html"), "--by"),
        (("report", "first", "second", "--samples", "1", "--out", "a.html"), "samples"),
        (("report", "first", "second", "--group", "a=none", "--out", "a.html"), "none"),
        (("report", "first", ".dvc", "--out", "a.html"), ".dvc"),
        (("runs", "--sort", "speed"), "speed"),
        (("figure", "first"), "--kind"),
        (("figure", "first", "--kind", "pie"), "pie"),
        (("figure", "first", "--all", "--width", "wide"), "wide"),
        (("figure", "first", "--all", "--format", "bmp"), "bmp"),
        (("figure", "first", "--all", "--out", "one.pdf"), "one.pdf"),
        (("figure", "first", "--all", "--out", "params.yaml"), "params.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(ltood, inside, words, told):
    error = ltood(*words, code=1).stderr
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (inside / "a.html").exists()
