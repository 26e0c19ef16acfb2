import pytest

from ltood.evaluation.measures import Evaluation
from ltood.reporting.leaderboard import leaderboard
from tests.reporting.report_samples import OWN_ROW, ROWS, board_of, board_row, make_store


@pytest.fixture(scope="module")
def own():
    """Metrics and entries of the report's scores."""
    store = make_store()
    slots = {slot: store.attributes[slot] for slot in ("method", "calibrator", "normaliser")}
    return Evaluation(store).metrics, slots


def lines(table):
    return [[row.heading, *(cell.text for cell in row.cells)] for row in table.rows]


def test_rows_are_sorted_and_the_report_is_marked(own):
    table = leaderboard(board_of([board_row("knn", 0.7), *ROWS]), *own)
    assert (table.corner, table.headings) == ("Method", ["Calibrator", "AUROC"])
    assert lines(table) == [
        ["himplos", "patt", "90.00"],
        ["knn", "none", "70.00"],
        ["msp", "none", "50.00"],
    ]
    assert [row.is_marked for row in table.rows] == [True, False, False]
    assert table.best == ("patt + himplos", 0.9)


def test_what_all_rows_share_is_said_once(own):
    table = leaderboard(board_of(ROWS), *own)
    assert table.constant == [
        "Normaliser none",
        *("FPR95, OOD positive 25.00", "FPR95, ID positive 25.00"),
        *("AP, OOD positive 25.00", "AP, ID positive 25.00"),
        *("Accuracy 75.00", "Accuracy, many 90.00", "Accuracy, medium 80.00"),
    ]
    other = board_row("knn", 0.7, id={**OWN_ROW["id"], "accuracy": 0.8})
    assert "Accuracy" in leaderboard(board_of([*ROWS, other]), *own).headings


@pytest.mark.parametrize(
    "row",
    [
        board_row("himplos", 0.8, calibrator="none", settings={"method": {"percentile": 60}}),
        {**OWN_ROW, "settings": {**OWN_ROW["settings"], "method": {"percentile": 90}}},
        {**OWN_ROW, "status": "failed", "reason": "no memory"},
    ],
)
def test_the_report_has_a_row_where_no_other_has_its_entries_and_settings(own, row):
    metrics, _ = own
    table = leaderboard(board_of([row, board_row("msp", 0.5)]), *own)
    (marked,) = (row for row in table.rows if row.is_marked)
    shown = dict(zip(table.headings, (cell.text for cell in marked.cells), strict=True))
    assert (marked.heading, shown["Calibrator"]) == ("himplos", "patt")
    assert shown["AUROC"] == f"{100 * metrics['mean']['auroc']:.2f}"
    assert shown["Accuracy"] == f"{100 * metrics['id']['accuracy']:.2f}"


def test_a_single_row_keeps_its_columns(own):
    table = leaderboard(board_of([OWN_ROW]), *own)
    assert table.constant == []
    assert len(table.headings) == 2 + 5 + 4


def test_rows_without_a_result_say_why(own):
    failed = {**board_row("vim", 0), "status": "failed", "reason": "too small"}
    left_out = {**board_row("gl_mcm", 0), "status": "left out", "reason": "no patches"}
    table = leaderboard(board_of([*ROWS, failed], [left_out]), *own)
    assert table.without_result == [
        ("vim", "failed: too small"),
        ("gl_mcm", "left out: no patches"),
    ]
    assert len(table.rows) == 2


def test_no_other_method_has_a_result(own):
    failed = {**board_row("vim", 0), "status": "failed", "reason": "too small"}
    (row,) = leaderboard(board_of([failed]), *own).rows
    assert row.is_marked
