import json

import pytest
from click.testing import CliRunner

from ltood.choosing.words import lines
from ltood.evaluation.measures import Evaluation
from ltood.reporting.choice import choice_panel
from ltood.reporting.write import write_report
from ltood.store.scores import ScoreWriter

from .report_samples import NASTY, Elements, make_store


def candidate(title, rank, *, chosen=False):
    return {
        "title": title,
        "entries": {"method": "knn", "settings": {"k": 50}},
        "mean_rank": rank,
        "standard_error": 0.25,
        "auroc": {"held_out": 0.91234, "noise": 1.0},
        "cost": "all training rows",
        "chosen": chosen,
    }


FOUND = {
    "chosen": "knn",
    "best": "vim",
    "reason": "knn is the cheapest candidate within one standard error of the best, vim.",
    "candidates": [
        candidate("vim", 1.25),
        candidate("knn", 1.5, chosen=True),
        candidate(NASTY, 3.0),
    ],
    "left_out": [{"title": "mcm", "reason": f"for heads made of text {NASTY}"}],
    "untried": ["ensemble"],
    "repeat": {"budget": 12},
    "seed": 7,
    "rows": 1234,
    "head": "refit",
    "kinds": {"held_out": 1.0, "noise": 1.0},
    "draws": [{"share": 0.1, "held_out": [1]}, {"share": 0.3, "held_out": [0, 2]}],
}


def test_a_named_method_has_no_such_section():
    assert choice_panel({"name": "knn", "settings": {}, "in_use": {}}) is None
    assert choice_panel({"name": "ensemble", "findings": {"groups": []}}) is None


def test_the_table_has_every_candidate_and_marks_the_chosen_one():
    panel = choice_panel({"findings": {"choice": FOUND}})
    assert [row.heading for row in panel.rows] == ["vim", "knn", NASTY]
    assert [row.is_marked for row in panel.rows] == [False, True, False]
    texts = [cell.text for cell in panel.rows[1].cells]
    assert texts == ["1.50", "0.25", "91.23", "100.00", "all training rows"]
    assert len(panel.headings) == len(texts)
    assert [title for title, _ in panel.without_rank] == ["mcm", "ensemble"]
    assert "seed 7" in panel.lead
    assert "1,234 held-out ID rows" in panel.lead
    assert "10 %, 30 %" in panel.lead


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    store = make_store(sets=("near",))
    store.attributes["method"] = {**store.attributes["method"], "findings": {"choice": FOUND}}
    out = tmp_path_factory.mktemp("choice") / "report.html"
    write_report(out, Evaluation(store))
    return out.read_text(encoding="utf-8")


def test_the_section_stands_in_the_page(page):
    elements = Elements(page)
    assert {"id": "choice"} in elements.all("section")
    assert {"href": "#choice"} in elements.all("a")
    assert any(FOUND["reason"] in text for text in elements.texts)
    assert any("Mean rank of each" in svg["aria-label"] for svg in elements.all("svg"))
    assert NASTY not in page.replace(elements.data, "")


def test_the_console_is_told_in_a_few_lines():
    told = list(lines(FOUND, most=2))
    assert told[0].startswith(FOUND["reason"])
    assert told[2].startswith("* knn")
    assert any("mcm" in line for line in told)
    assert any("ensemble" in line for line in told)


@pytest.mark.parametrize("findings", [{}, {"findings": {"choice": FOUND}}])
def test_the_pipeline_writes_the_choice_as_a_file(tmp_path, monkeypatch, findings):
    from stages.evaluate import main as evaluate

    store = make_store(sets=("near",))
    attributes = {**store.attributes, "method": {**store.attributes["method"], **findings}}
    path = tmp_path / "data" / "work" / "scores" / "final.zarr"
    path.parent.mkdir(parents=True)
    rows = {name: len(part) for name, part in store.parts.items()}
    with ScoreWriter(path, rows, attributes) as writer:
        for name, part in store.parts.items():
            writer.append(name, part)
    (tmp_path / "params.yaml").write_text("evaluation: {}\n")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(evaluate, []).exit_code == 0
    written = json.loads((tmp_path / "results" / "choice.json").read_text(encoding="utf-8"))
    assert written == {"method": "himplos", "choice": FOUND if findings else None}
