"""A change makes stale what it can change, and nothing else."""

import copy
from dataclasses import replace

import pytest

from ltood.tables import state, view
from ltood.tables.cells import cells_of, merged
from ltood.tables.state import state_of
from tests.tables.table_samples import make_table


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """Cells of cross entropy and of PATT, over two files instead of images."""
    monkeypatch.chdir(tmp_path)

    def data(params):
        return {"seen": params.name("dataset"), "bytes": (tmp_path / "image").read_text()}

    monkeypatch.setitem(state.WATCHED, "prepare", ("data", "the data", data))
    (tmp_path / "image").write_text("1")
    return cells_of(make_table(seeds=[0], published=[]))


def changed(cell, **sections):
    return replace(cell, params=merged(copy.deepcopy(dict(cell.params)), sections))


def test_a_change_of_data_or_code_shows_where_it_is_read(cells, tmp_path, monkeypatch):
    plain, patt = cells
    known = {}
    before = [state_of(cell, known) for cell in cells]
    # What is shared between cells changes no digest.
    assert before == [state_of(cell) for cell in cells]
    (tmp_path / "image").write_text("2")
    assert all(state_of(c) != b for c, b in zip(cells, before, strict=True))
    (tmp_path / "image").write_text("1")
    real = state.code_parts

    def edited(*roots):
        return {**real(*roots), "edited": "ltood.recipes.patt" in roots}

    states = [state_of(cell) for cell in cells]
    assert states == before
    monkeypatch.setattr(state, "code_parts", edited)
    plain_now, patt_now = (state_of(cell) for cell in (plain, patt))
    monkeypatch.setattr(state, "code_parts", lambda *r: {**real(*r), "edited": False})
    assert state_of(plain) == plain_now
    assert state_of(patt) != patt_now


def test_settings_count_where_they_change_a_number(cells):
    plain, _ = cells
    known = {}
    before = state_of(plain, known)
    for free in ({"device": "cpu"}, {"training": {"checkpoint_minutes": 3.0}}):
        assert state_of(changed(plain, **free), known) == before
    for counts in ({"seed": 5}, {"training": {"epochs": 7}}, {"methods": {"knn": {"k": 3}}}):
        assert state_of(changed(plain, **counts), known) != before


def test_a_row_that_nothing_can_be_made_from_stops_no_other(cells, monkeypatch):
    bad = changed(cells[1], training={"weights": "none.pt"})
    states, reasons = view._states([cells[0], bad])
    assert states[cells[0].name] == state_of(cells[0])
    assert list(reasons) == [bad.name]
    assert "none.pt" in reasons[bad.name]
    with pytest.raises(view.LtoodError, match=r"none\.pt"):
        view._states([bad])
