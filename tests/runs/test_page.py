"""The page of several runs: whole, offline, and with everything escaped."""

import base64
import hashlib
import json
import re

import pytest

from ltood.core.errors import ConfigError
from ltood.reporting.sheets import write_sheets
from ltood.runs.comparing import compare_runs
from ltood.runs.figures import chosen
from ltood.runs.page import content_of, figures_of, render, write_page
from ltood.runs.sheets import sheets_of
from tests.browser import BROWSER, dom
from tests.reporting.report_samples import NASTY, Elements
from tests.runs.run_samples import write_scores

SAMPLES = 20


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    given = [f"{NASTY.replace('/', '|')}={write_scores(folder / 'a.zarr', 'energy')}"]
    given += [f"b={write_scores(folder / 'b.zarr', 'msp')}"]
    given += [f"_c={write_scores(folder / 'c.zarr', 'msp', seed=4)}"]
    return compare_runs(given, folder, samples=SAMPLES)


@pytest.fixture(scope="module")
def page(found):
    return render(content_of(found))


def test_names_are_text_and_nothing_else(page):
    elements = Elements(page)
    assert "<script>alert" not in page
    assert any("alert('x')" in text for text in elements.texts)


def test_nothing_is_loaded_from_elsewhere(page):
    elements = Elements(page)
    for _, attributes in elements.found:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    policy = next(a["content"] for a in elements.all("meta") if "http-equiv" in a)
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"sha256-{digest}" in policy


def test_figures_and_sets_are_there(page, found):
    assert page.count("<svg") == 1 + len(found.sets) * (1 + len(found.groups))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_a_run_without_sets_has_dashes_and_its_accuracies(tmp_path):
    given = [str(write_scores(tmp_path / "a.zarr", "energy"))]
    given.append(str(write_scores(tmp_path / "plain.zarr", "energy", sets=())))
    found = compare_runs(given, tmp_path, samples=SAMPLES)
    content = content_of(found)
    cells = {row.heading: [cell.text for cell in row.cells] for row in content.summary.rows}
    assert ("-" in cells["plain"], "-" in cells["a"]) == (True, False)
    assert render(content).count("<svg") == 1 + len(found.sets) * 2


def test_the_same_runs_give_the_same_bytes(page, found, tmp_path):
    write_page(tmp_path / "page.html", found)
    assert (tmp_path / "page.html").read_text() == page


def test_data_are_the_figures_in_full(page, found):
    data = json.loads(re.search(r'id="ltood-data">(.*?)</script>', page, re.S)[1])
    for group in found.groups:
        assert data["summary"][group.name]["auroc"] == found.figure(group, "auroc").value


def test_every_table_is_a_file_of_each_kind(found, tmp_path):
    files = write_sheets(tmp_path / "tables", sheets_of(found))
    assert {file.suffix for file in files} == {".csv", ".md", ".tex"}
    assert all(file.stat().st_size > 20 for file in files)


def test_figures_are_chosen_by_name_or_by_kind(found):
    drawings = figures_of(found)
    assert list(chosen(drawings, ["roc"])) == [f"roc-{name}" for name in found.sets]
    assert list(chosen(drawings, ["leaderboard"])) == ["leaderboard"]
    with pytest.raises(ConfigError, match=r"datasets\.<name>\.ood"):  # as of a run without sets
        chosen({"scores": drawings["leaderboard"]}, ["roc"])


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_tables_sort_and_filter_in_a_browser(page, tmp_path):
    # A click as a reader makes it; the page's own policy would forbid a script of the test.
    click = (
        "<script>document.querySelector('#summary thead th:nth-child(2) button').click()</script>"
    )
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"{click}</body>")
    (tmp_path / "page.html").write_text(open_page, encoding="utf-8")
    elements = Elements(dom(tmp_path / "page.html", tmp_path / "profile"))
    sorted_by = [head for head in elements.all("th") if "aria-sort" in head]
    assert [head["aria-sort"] for head in sorted_by] == ["descending"]
    assert all("hidden" not in form for form in elements.all("form"))
