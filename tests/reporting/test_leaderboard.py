import pytest

from ltood.evaluation.measures import Evaluation
from ltood.reporting.leaderboard import leaderboard
from ltood.reporting.tables import ABSENT
from tests.reporting.report_samples import OWN_ROW, ROWS, board_of, board_row, make_store


@pytest.fixture(scope="module")
def own():
    """Metrics and entries of the report's scores."""
    store = make_store()
    slots = {slot: store.attributes[slot] for slot in ("method", "calibrator", "normaliser")}
    return Evaluation(store).metrics, slots


def headings(table):
    return [heading.text for heading in table.headings]


def lines(table):
    return [[row.heading, *(cell.text for cell in row.cells)] for row in table.rows]


def test_rows_are_sorted_and_the_report_is_marked(own):
    table = leaderboard(board_of([board_row("knn", 0.7), *ROWS]), *own)
    assert headings(table) == ["AUROC", "Calibrator"]
    assert lines(table) == [
        ["HIMPLoS", "90.00", "PATT"],
        ["KNN", "70.00", "none"],
        ["MSP", "50.00", "none"],
    ]
    assert [row.is_marked for row in table.rows] == [True, False, False]
    assert table.best == ("PATT + HIMPLoS", 0.9)


def test_what_all_rows_share_is_said_once(own):
    table = leaderboard(board_of(ROWS), *own)
    assert table.constant == [
        *("FPR95, OOD positive 25.00", "FPR95, ID positive 25.00"),
        *("AP, OOD positive 25.00", "AP, ID positive 25.00"),
        *("Accuracy 75.00", "Accuracy, many 90.00", "Accuracy, medium 80.00"),
        "Normaliser none",
    ]
    other = board_row("knn", 0.7, id={**OWN_ROW["id"], "accuracy": 0.8})
    assert "Accuracy" in headings(leaderboard(board_of([*ROWS, other]), *own))


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
    shown = dict(zip(headings(table), (cell.text for cell in marked.cells), strict=True))
    assert (marked.heading, shown["Calibrator"]) == ("HIMPLoS", "PATT")
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
        ("ViM", "failed: too small"),
        ("GL-MCM", "left out: no patches"),
    ]
    assert len(table.rows) == 2


def test_no_other_method_has_a_result(own):
    failed = {**board_row("vim", 0), "status": "failed", "reason": "too small"}
    (row,) = leaderboard(board_of([failed]), *own).rows
    assert row.is_marked


def spread(low, high, behind):
    return {"auroc": {"low": low, "high": high, "std": 0.01}, "behind_best": behind}


def test_rows_as_good_as_the_best_are_shaded(own):
    rows = [
        board_row("knn", 0.95, uncertainty=spread(0.94, 0.96, dict.fromkeys(("mean", "low"), 0))),
        board_row("vim", 0.94, uncertainty=spread(0.93, 0.95, {"mean": 0.01, "low": -0.001})),
        board_row("msp", 0.90, uncertainty=spread(0.89, 0.91, {"mean": 0.05, "low": 0.04})),
        board_row("energy", 0.85, uncertainty=spread(None, None, {"mean": 0.1, "low": None})),
    ]
    for row in rows:
        row["uncertainty"]["behind_best"].setdefault("high", row["uncertainty"]["auroc"]["high"])
    table = leaderboard(board_of(rows), *own)
    assert table.has_intervals
    found = {row.heading: dict(zip(headings(table), row.cells, strict=True)) for row in table.rows}
    assert {name: cells["AUROC"].rank for name, cells in found.items()} == {
        "KNN": "best", "ViM": "best", "MSP": "", "Energy": "", "HIMPLoS": "",
    }  # fmt: skip
    assert found["MSP"]["AUROC"].interval == "[89.00, 91.00]"
    assert found["Energy"]["AUROC"].interval == ""
    assert (found["KNN"]["Behind the best"].text, found["KNN"]["Behind the best"].interval) == (
        "0.00",
        "",
    )
    assert found["MSP"]["Behind the best"].interval == "[4.00, 91.00]"
    # The report's own row is not on the board, so nothing is known of its interval.
    assert found["HIMPLoS"]["Behind the best"].text == ABSENT
    assert found["MSP"]["AUROC"].value == "0.9"


def test_what_methods_learn_from_is_named(own):
    rows = [board_row("knn", 0.9, needs=["train"]), board_row("msp", 0.5, needs=[])]
    rows.append(board_row("own_method", 0.4, needs=["rare", "aux"]))
    table = leaderboard(board_of(rows), *own)
    assert list(table.needs) == ["train", "aux", "rare"]
    found = {row.heading: (row.cells[-1].text, row.needs) for row in table.rows}
    assert found["KNN"] == ("training rows", ("train",))
    assert found["MSP"] == ("nothing", ())
    assert found["own_method"] == ("auxiliary outliers, rare", ("rare", "aux"))
    assert found["HIMPLoS"] == (ABSENT, ())
