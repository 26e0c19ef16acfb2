"""Filled tables: figures, intervals, checks and all formats."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from ltood.metrics.auroc import auroc
from ltood.tables.cells import cells_of
from ltood.tables.checking import checks
from ltood.tables.openood import COLUMNS, as_openood
from ltood.tables.records import Results
from ltood.tables.rendering import FORMATS, as_csv, as_html, as_latex, as_markdown, as_text
from ltood.tables.scheduling import run_table
from ltood.tables.statistics import Drawn, differences
from ltood.tables.summary import fill
from tests.tables.table_samples import CONTENT, failing, make_table, pretended, scores_of


def filled_by(folder, runner, table=None):
    table = table or make_table()
    cells = cells_of(table)
    states = dict.fromkeys((cell.name for cell in cells), "now")
    outcome = run_table(folder, table, cells, states, runner=runner)
    results = Results(folder, table.name)
    return fill(table, cells, outcome.records, outcome.failures, results, samples=60)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return filled_by(tmp_path_factory.mktemp("table"), pretended)


def counted(title, seed):
    splits = scores_of(title, seed)
    return {s: auroc(splits["test"].scores, splits[f"ood_{s}"].scores) for s in "ab"}


def test_figures_are_means_over_seeds_of_means_over_sets(filled):
    line = filled.lines[1]
    assert line.row.name == "kNN"
    by_seed = [counted("knn", seed) for seed in (0, 1)]
    means = [(found["a"] + found["b"]) / 2 for found in by_seed]
    figure = line.figures[""]["auroc"]
    assert figure.values == pytest.approx(means)
    assert figure.mean == pytest.approx(np.mean(means))
    assert figure.std == pytest.approx(np.std(means, ddof=1))
    assert line.figures["@near"]["auroc"].values == pytest.approx([f["b"] for f in by_seed])
    assert line.figures["/a"]["auroc"].values == pytest.approx([f["a"] for f in by_seed])


def test_differences_are_paired_by_seed_and_image(tmp_path, filled):
    """Against a plain loop over draws of rows."""
    table = make_table(seeds=[0])
    cells = cells_of(table)
    for cell in cells:
        pretended(tmp_path, table, cell, "s", None)
    results = Results(tmp_path, table.name)
    first = [Drawn(results.open_scores(cells[0]), "knn")]
    other = {"MSP": [Drawn(results.open_scores(cells[0]), "msp")]}
    found = differences(first, other, samples=400)["MSP"]
    gap = np.mean([counted("knn", 0)[s] - counted("msp", 0)[s] for s in "ab"])
    assert found.mean == pytest.approx(gap, abs=0.01)
    rng = np.random.default_rng(1)
    knn, msp = scores_of("knn", 0), scores_of("msp", 0)
    drawn = []
    for _ in range(400):
        rows = rng.integers(0, 120, 120)
        gaps = []
        for s in "ab":
            own = rng.integers(0, 60, 60)
            both = [
                auroc(scores["test"].scores[rows], scores[f"ood_{s}"].scores[own])
                for scores in (knn, msp)
            ]
            gaps.append(both[0] - both[1])
        drawn.append(np.mean(gaps))
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)
    assert found.is_significant
    assert differences(first, {"kNN": first}, samples=20)["kNN"].mean == 0


def test_the_best_row_is_named_and_others_are_compared_with_it(filled):
    assert filled.best in ("kNN", "PATT")
    gaps = {line.row.name: line.behind for line in filled.lines}
    assert gaps[filled.best] is None
    assert gaps["MSP"].mean > 0.05
    assert gaps["MSP"].is_significant


def test_checks_compare_with_published_figures(filled):
    found = {(item.place, item.key): item for item in checks(filled)}
    assert set(found) == {("", "auroc"), ("@near", "auroc")}
    ours = 100 * filled.lines[0].figures[""]["auroc"].mean
    assert found["", "auroc"].found == pytest.approx(ours)
    assert found["", "auroc"].is_right == (abs(ours - 76) <= 5)


def test_a_figure_outside_the_tolerance_is_off(tmp_path):
    published = [
        {"name": "P", "source": "S", "row": "MSP", "values": {"auroc": 1.0}, "tolerance": 0.1}
    ]
    (item,) = checks(filled_by(tmp_path, pretended, make_table(published=published)))
    assert not item.is_right
    assert "MSP: auroc is" in str(item)


def test_all_formats_show_ours_beside_published(filled):
    for name in FORMATS:
        text = FORMATS[name][1](filled)
        assert "A paper" in text, name
        assert "Another" in text, name
    value = f"{100 * filled.lines[1].figures['']['auroc'].mean:.2f}"
    for text in (as_text(filled), as_markdown(filled), as_html(filled)):
        assert value in text
    assert "| *A paper, published* | *76.00* |" in as_markdown(filled)
    assert "**" in as_markdown(filled)
    assert r"Small \& simple" in as_latex(filled) or r"\toprule" in as_latex(filled)
    assert r"\textbf{" in as_latex(filled)
    assert "Small &amp; simple" in as_html(filled)
    rows = list(csv.DictReader(io.StringIO(as_csv(filled))))
    found = [r for r in rows if r["row"] == "kNN" and (r["place"], r["metric"]) == ("", "auroc")]
    assert float(found[0]["mean"]) == filled.lines[1].figures[""]["auroc"].mean
    assert found[0]["seeds"] == "2"


def test_openood_columns(filled):
    heading, *rows = list(csv.reader(io.StringIO(as_openood(filled))))
    assert tuple(heading) == COLUMNS
    assert [row[:2] for row in rows] == [
        ["cross_entropy", "msp"],
        ["cross_entropy", "knn"],
        ["patt", "energy"],
    ]
    assert [row[5] for row in rows] == ["False", "False", "True"]
    assert rows[0][3] == ""  # the table has no group far
    assert "±" in rows[0][2]


def test_sets_to_tune_on_are_named(tmp_path):
    params = {**CONTENT["params"], "datasets": {"demo": {"val_ood": ["tin=lists/val_tin.txt"]}}}
    filled = replace(filled_by(tmp_path, pretended), table=replace(make_table(), params=params))
    assert "Kept for tuning, and in no figure here: tin." in as_text(filled)


def test_gaps_say_why(tmp_path):
    filled = filled_by(tmp_path, failing)
    assert "PATT, seed 1: no luck today." in as_text(filled)
    assert filled.lines[2].figures[""]["auroc"].std is None
    assert len(filled.lines[2].figures[""]["auroc"].values) == 1
