"""Lines about fitted entries."""

from ltood.scoring.wording import said_of

MEMBERS = [
    {"member": "knn", "error_auroc": 0.8, "kept": True},
    {"member": "vim", "error_auroc": 0.4, "kept": False},
]


def test_members_in_use_are_counted_among_all_and_named():
    record = {"name": "ensemble", "in_use": {"members": 1.0, "map_rows": 20.0}}
    lines = list(said_of({**record, "findings": {"members": MEMBERS}}))
    assert lines == ["ensemble: 1 of 2 members in use: knn", "ensemble: map_rows in use 20"]


def test_other_values_are_told_as_they_are():
    assert list(said_of({"name": "knn", "in_use": {"lists": 3.0}})) == ["knn: lists in use 3"]
    assert list(said_of({"name": "none", "in_use": {}})) == []


def test_a_choice_is_told_after_them():
    choice = {
        "reason": "Best mean rank.",
        "rows": 7,
        "candidates": [{"title": "knn", "chosen": True, "mean_rank": 1.0, "standard_error": 0.0}],
        "draws": [1],
        "seed": 0,
        "left_out": [],
        "untried": [],
    }
    lines = list(said_of({"name": "auto", "in_use": {"k": 2.0}, "findings": {"choice": choice}}))
    assert lines[0] == "auto: k in use 2"
    assert all(line.startswith("auto: ") for line in lines)
    assert len(lines) == 3
