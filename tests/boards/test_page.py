"""The page: rows of records beside published ones, in the order that a reader asks for."""

import re

import pytest

from ltood.boards.lines import sections
from ltood.boards.page import as_html, as_markdown
from ltood.boards.record import Record
from tests.boards.board_samples import content_of, make_table
from tests.browser import BROWSER, dom


@pytest.fixture(scope="module")
def records(view):
    return [Record.of(content_of(view, row)) for row in (0, 1)]


def test_rows_of_a_table_stand_beside_published_ones(records):
    (section,) = sections(records, [make_table()])
    assert {line.name for line in section.lines} == {"MSP", "kNN & more", "A <paper>", "Another"}
    means = [line.figures["", "auroc"][0] for line in section.lines]
    assert means == sorted(means, reverse=True)
    ours = next(line for line in section.lines if line.name == "MSP")
    runs = [run["metrics"] for run in records[0].runs]
    expected = 100 * sum(run["mean"]["auroc"] for run in runs) / 2
    assert ours.figures["", "auroc"][0] == pytest.approx(expected)
    assert ours.figures["@near", "auroc"][0] == pytest.approx(
        100 * sum(run["groups"]["near"]["auroc"] for run in runs) / 2
    )
    assert (ours.seeds, ours.features, ours.is_published) == (2, "", False)
    titles = [title for title, _, _ in section.columns]
    assert titles[:3] == ["AUROC", "FPR95 (OOD positive)", "FPR95 (ID positive)"]
    assert titles[-2:] == ["AUROC far", "AUROC near"]


def test_versions_stand_apart_and_boards_without_rows_say_so(records):
    found = sections(records, [make_table(version=3)])
    assert [(section.version, len(section.lines)) for section in found] == [(3, 2), (2, 2)]
    page = as_html(records, [make_table(board="clip", version=3)])
    assert page.index(">Long-tailed<") < page.index("version 2") < page.index(">CLIP<")
    assert "No rows yet." in as_html([], [])
    assert sections([], [make_table(board=None)]) == []
    assert "Other tables" in as_html(
        [Record.of({**records[0].content, "table": {"name": "own", "version": 1, "board": None}})],
        [],
    )


def test_nothing_on_the_page_is_taken_for_markup(records):
    for text in (as_html(records, [make_table()]), as_markdown(records, [make_table()])):
        assert "A &lt;paper&gt;" in text
        assert "kNN &amp; more" in text
        assert "recalled" in text
        assert "http" not in text
    # A blank line would end the block that Markdown leaves alone.
    tables = re.findall(r'<div class="ltood-board">.*', as_markdown(records, [make_table()]))
    assert len(tables) == 1
    assert tables[0].endswith("</div>")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_columns_sort_in_a_browser(records, tmp_path):
    page = tmp_path / "page.html"
    click = (
        "<script>const at = (n) => document.querySelectorAll('thead button')[n];"
        "const read = () => [...document.querySelectorAll('tbody th')].map((e) => e.firstChild"
        ".textContent.trim()).join('|'); const say = (id) => { const p ="
        "document.createElement('p'); p.id = id; p.textContent = read(); document.body.append(p) };"
        "at(0).click(); say('a'); at(2).click(); say('b'); at(2).click(); say('c');</script>"
    )
    page.write_text(as_html(records, [make_table()]).replace("</html>", click), encoding="utf-8")
    text = dom(page, tmp_path / "profile")
    shown = dict(re.findall(r'<p id="(.)">(.*?)</p>', text))
    assert shown["a"].split("|") == ["A &lt;paper&gt;", "Another", "kNN &amp; more", "MSP"]
    # The row without a figure stays last, whichever way the others go.
    assert shown["b"].split("|")[-1] == shown["c"].split("|")[-1] == "Another"
    assert shown["b"].split("|")[:3] == shown["c"].split("|")[2::-1]
    assert text.count('aria-sort="ascending"') == 1
