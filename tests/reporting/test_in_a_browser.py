"""The report in a real browser: it sorts, filters, and runs no script but its own."""

import html
import json
import re

import pytest

from ltood.evaluation.measures import Evaluation
from ltood.reporting.content import Pieces
from ltood.reporting.write import write_report
from tests.browser import BROWSER, dom
from tests.reporting.report_samples import OWN_ROW, board_of, board_row, make_store
from tests.reporting.test_leaderboard import spread
from tests.reporting.test_pictures import RECORD, examples_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
]

LOOK = """
<script>
const seen = {};
const names = () => [...document.querySelectorAll("#leaderboard tbody tr")]
  .filter((row) => !row.hidden).map((row) => row.cells[0].firstChild.textContent.trim());
const head = (n) => document.querySelectorAll("#leaderboard thead button")[n];
const form = document.querySelector("form.filter");
const write = (text) => {
  form.querySelector("[type=search]").value = text;
  form.dispatchEvent(new Event("input"));
};
seen.first = names();
head(0).click(); seen.byName = names();
head(1).click(); seen.byAuroc = names();
seen.sorted = document.querySelector("[aria-sort]").cellIndex;
write("knn"); seen.found = names(); seen.count = form.querySelector("output").textContent;
write("");
form.querySelector("[value=aux]").checked = false;
form.dispatchEvent(new Event("input"));
seen.withoutAux = names();
const p = document.createElement("p");
p.id = "seen";
p.textContent = JSON.stringify(seen);
document.body.append(p);
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with everything on it, and what a script of our own saw there."""
    evaluation = Evaluation(make_store(names=[f"a class called {n}" for n in range(10)]))
    best = {"mean": 0, "low": 0, "high": 0}
    rows = [
        {**OWN_ROW, "uncertainty": spread(0.88, 0.92, best), "needs": ["train", "aux"]},
        board_row("knn", 0.7, needs=["train"]),
        board_row("msp", 0.5, needs=[]),
        board_row("bin_disc", 0.6, needs=["aux"]),
    ]
    folder = tmp_path_factory.mktemp("browser")
    pieces = Pieces(
        examples=examples_of(evaluation.fingerprint),
        history={"epoch": (1, 2), "loss": (2.0, 1.0)},
        records={"train": RECORD},
    )
    write_report(folder / "r.html", evaluation, leaderboard=board_of(rows), pieces=pieces)
    text = (folder / "r.html").read_text(encoding="utf-8")
    # The page's own policy runs no script but its own.
    assert '<p id="seen">' not in dom_of(
        folder, text.replace("</body>", LOOK + "</body>"), "strict"
    )
    loose = re.sub(r"script-src &#39;[^&]*&#39;", "script-src 'unsafe-inline'", text)
    return dom_of(folder, loose.replace("</body>", LOOK + "</body>"), "loose")


def dom_of(folder, text, name):
    path = folder / f"{name}.html"
    path.write_text(text, encoding="utf-8")
    return dom(path, folder / f"profile {name}")


def test_it_sorts_and_filters(page):
    seen = json.loads(html.unescape(re.search(r'<p id="seen">(.*?)</p>', page)[1]))
    assert seen["first"] == ["HIMPLoS", "KNN", "BinDisc", "MSP"]
    assert seen["byName"] == ["BinDisc", "HIMPLoS", "KNN", "MSP"]
    assert seen["byAuroc"] == ["HIMPLoS", "KNN", "BinDisc", "MSP"]
    assert seen["sorted"] == 1
    # The report's own row stays, whatever is looked for.
    assert seen["found"] == ["HIMPLoS", "KNN"]
    assert seen["count"] == "2 of 4 rows"
    assert seen["withoutAux"] == ["HIMPLoS", "KNN", "MSP"]
