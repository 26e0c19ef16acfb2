from ltood.evaluation.measures import Evaluation
from ltood.reporting.members import members_panel
from ltood.reporting.write import write_report

from .report_samples import NASTY, Elements, make_store

METHOD = {
    "settings": {"screen": 0.55},
    "findings": {
        "members": [
            {"member": "knn", "error_auroc": 0.81234, "kept": True},
            {"member": NASTY, "error_auroc": 0.5, "kept": False},
            {"member": "vim", "error_auroc": None, "kept": True},
        ]
    },
}


def test_other_methods_have_no_such_section():
    assert members_panel({"name": "knn", "settings": {}, "in_use": {}}) is None
    assert members_panel({"name": "auto", "settings": {}, "findings": {"choice": {}}}) is None


def test_every_member_has_a_row_and_those_in_use_are_marked():
    panel = members_panel(METHOD)
    assert [row.is_marked for row in panel.rows] == [True, False, True]
    texts = [[cell.text for cell in row.cells] for row in panel.rows]
    assert [text[0] for text in texts[:2]] == ["81.23", "50.00"]
    assert [text[1] for text in texts] == ["yes", "no", "yes"]
    assert "2 of 3" in panel.lead
    assert "55 %" in panel.lead


def test_the_report_shows_them(tmp_path):
    store = make_store(sets=("near",))
    store.attributes["method"] = {**store.attributes["method"], **METHOD}
    write_report(tmp_path / "report.html", Evaluation(store))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert {"id": "members"} in elements.all("section")
    assert {"href": "#members"} in elements.all("a")
    assert NASTY not in page.replace(elements.data, "")
