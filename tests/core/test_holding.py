import subprocess
import sys
from types import ModuleType

import pytest

from ltood.core import holding
from ltood.core.errors import UnknownNameError
from ltood.core.holding import held, held_stores

LINES = {
    ("methods", "knn"): {"members": ("msp", {"method": "vim", "calibrator": "patt"})},
    ("methods", "gen"): {"candidates": ({"method": "knn", "settings": {"members": ["energy"]}},)},
}


@pytest.fixture(autouse=True)
def lines(monkeypatch):
    """Two entries that hold others, whatever there is."""
    found = ModuleType("registry")
    found.constant = lambda package, name, key: LINES.get((package, name))
    monkeypatch.setattr(holding, "constant", found.constant)


def test_most_entries_hold_none():
    assert held("methods", "msp", {"members": ["knn"]}) == []


def test_what_stands_there_by_default():
    names = [("methods", "msp"), ("methods", "vim"), ("calibrators", "patt")]
    for settings in (None, {}, {"members": None}, {"other": 1}):
        assert held("methods", "knn", settings) == names


def test_what_is_set_counts_instead():
    member = {"method": "react", "normaliser": "imood", "settings": {"percentile": 80}}
    settings = {"members": ["energy", member, "energy"]}
    names = [("methods", "energy"), ("methods", "react"), ("normalisers", "imood")]
    assert held("methods", "knn", settings) == names


def test_what_they_hold_counts_too():
    assert held("methods", "gen", None) == [("methods", "knn"), ("methods", "energy")]
    inner = {"candidates": [{"method": "knn"}]}
    assert ("calibrators", "patt") in held("methods", "gen", inner)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="knnn"):
        held("methods", "knn", {"members": ["knnn"]})


@pytest.mark.parametrize("members", ["msp", 3, [3, None, ["msp"]], [{"settings": {}}]])
def test_what_has_no_sense_is_left_to_the_settings(members):
    assert held("methods", "knn", {"members": members}) == []


def test_it_needs_no_torch():
    code = "import sys, ltood.core.holding as h; h.held('methods', 'knn', None)"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=False
    )
    assert run.returncode == 0


def test_stores_of_members():
    member = {"method": "knn", "store": "b.zarr", "settings": {"members": [{"store": "c.zarr"}]}}
    settings = {"members": ["energy", member, {"method": "msp", "store": "b.zarr"}]}
    assert held_stores("methods", "knn", settings) == ["b.zarr", "c.zarr"]
    assert held_stores("methods", "knn", None) == []
    assert held_stores("methods", "msp", settings) == []


def test_stores_that_are_read_without_a_method(monkeypatch):
    lines = {holding.STORES: ("others",)}
    monkeypatch.setattr(holding, "constant", lambda package, name, key: lines.get(key))
    others = ["a.zarr", {"store": "b.zarr", "head": "h"}, {"store": "a.zarr"}, 3, {"head": "h"}]
    found = held_stores("methods", "knn", {"others": others, "more": ["c.zarr"]})
    assert found == ["a.zarr", "b.zarr::h"]
    assert held_stores("methods", "knn", {"others": "a.zarr"}) == []
    assert held_stores("methods", "knn", None) == []
