"""The files of a sweep."""

import csv
import json
import sys

import pytest

from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.runtime.params import read_params
from ltood.sweeping.candidates import (
    grid_candidates,
)
from ltood.sweeping.searching import sweep
from ltood.sweeping.writing import write_sweep


@pytest.fixture(scope="module")
def result(store):
    return sweep(
        store, "himplos", grid_candidates({"percentile": [0, 50, 90], "clip": [1.0, None]})
    )


@pytest.fixture
def written(result, tmp_path):
    write_sweep(tmp_path, result)
    return tmp_path


def test_the_files_are_the_same_on_every_run(written, result, tmp_path):
    names = ["best.yaml", "sweep.csv", "sweep.json", "sweep.png", "sweep.svg"]
    assert sorted(path.name for path in written.iterdir()) == names
    before = {name: (written / name).read_bytes() for name in names}
    write_sweep(tmp_path / "again", result)
    assert before == {name: (tmp_path / "again" / name).read_bytes() for name in names}


def test_the_best_settings_are_a_section_of_params(written, result):
    section = read_params(written / "best.yaml")["methods"]["himplos"]
    assert section == result.winner.section
    parse(section, load("methods", "himplos").Config, "methods.himplos")


def test_the_section_says_how_it_was_chosen(written):
    heading = (written / "best.yaml").read_text().splitlines()[0]
    assert heading.startswith("# auroc 0.")
    assert heading.endswith("on val against aux, best of 6")


def test_the_table_has_a_line_for_each_candidate(written, result):
    with (written / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {"percentile", "clip"} < set(rows[0])
    assert [float(row["auroc"]) for row in rows] == [
        candidate.metrics["auroc"] for candidate in result.candidates
    ]


def test_the_record_names_best_and_features(written, result, store):
    record = json.loads((written / "sweep.json").read_text())
    assert record["best"]["section"] == result.winner.section
    assert record["features_fingerprint"] == store.fingerprint


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"percentile": [50, 0, 90]}, ["percentile", "auroc, %"]),
        ({"clip": [1.0, "auto", None]}, ["clip", "null", "auto"]),
        ({"percentile": [0, 50, 90], "clip": [1.0, None]}, ["percentile", "null", "auroc, %"]),
        ({"percentile": [0, 50], "clip": [1.0, 2.0], "temperature": [0.1, 50]}, ["temperature"]),
    ],
)
def test_the_figure_names_settings_and_values(store, tmp_path, grid, words):
    write_sweep(tmp_path, sweep(store, "himplos", grid_candidates(grid)))
    drawn = (tmp_path / "sweep.svg").read_text()
    assert [word for word in words if f">{word}<" not in drawn] == []


def test_without_matplotlib_the_files_come_without_a_figure(store, tmp_path, monkeypatch):
    result = sweep(store, "knn", [{"k": 1}, {"k": 3}])
    write_sweep(tmp_path, result)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.warns(UserWarning, match=r'pip install "ltood\[report\]"'):
        write_sweep(tmp_path, result)
    names = ["best.yaml", "sweep.csv", "sweep.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_problems_reach_the_files(store, tmp_path):
    write_sweep(tmp_path, sweep(store, "knn", [{"k": 91}, {"k": 3}]))
    first, _ = csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines())
    assert first["auroc"] == ""
    assert first["problem"].startswith("methods.knn.k is 91")
    assert json.loads((tmp_path / "sweep.json").read_text())["candidates"][0]["metrics"] is None
    grid = grid_candidates({"k": [3, 91], "normalise": [True, False]})
    write_sweep(tmp_path, sweep(store, "knn", grid))
    assert ">-<" in (tmp_path / "sweep.svg").read_text()
