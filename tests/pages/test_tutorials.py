"""docs/tutorials: every block that runs, on a stand-in where the page says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.running import DOCS, run_page

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_report(empty, monkeypatch, capsys):
    names = run_page("tutorials/first-report.md", monkeypatch)
    assert names["counts"][0] == 400
    assert names["counts"][-1] == 12
    assert (empty / "report.html").stat().st_size > 50_000
    # What the page says of the number of neighbours.
    rows = {row["method"]: row for row in names["board"].rows}
    assert rows["knn"]["mean"]["false_alarms"]["few"] > 0.5
    assert "flagged digits" in capsys.readouterr().out


def test_own_images(photos, monkeypatch, capsys):
    pytest.importorskip("timm")
    names = run_page(
        "tutorials/own-images.md", monkeypatch, {'"resnet18", True': '"test_resnet", False'}
    )
    assert len(names["found"]) == 2
    assert {"cat", "noise"} <= set(capsys.readouterr().out.replace("'", " ").split())
    assert (photos.parent / "report.html").is_file()


def test_himplos(features, monkeypatch):
    run_page("tutorials/himplos.md", monkeypatch)
    assert (features.parent / "full.json").is_file()
    assert any((features.parent / "sweep").iterdir())


def test_deploy(empty, monkeypatch, capsys):
    names = run_page("tutorials/deploy.md", monkeypatch)
    assert len(names["rows"]) == 100
    assert names["flagged"] >= 10
    assert names["test"].pvalue < 0.01
    assert "flagged" in capsys.readouterr().out


def test_notebooks_are_up_to_date():
    done = subprocess.run(
        [sys.executable, DOCS / "make_notebooks.py", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {path.stem for path in NOTEBOOKS} == {"first-report", "own-images"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, photos, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        cell.source = cell.source.replace('"resnet18", True', '"test_resnet", False')
    client.NotebookClient(
        book, timeout=280, resources={"metadata": {"path": str(photos.parent)}}
    ).execute()
