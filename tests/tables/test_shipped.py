"""The tables that come with ltood: each can be planned, and says what is missing."""

import json
import re
from functools import cache

import pytest

from ltood.core.errors import DataError
from ltood.runtime.shipped import shipped
from ltood.tables import small_clip
from ltood.tables.cells import cells_of
from ltood.tables.needs import missing_needs, refuse_missing
from ltood.tables.spec import load_table

SHIPPED = sorted(path.stem for path in shipped("tables").glob("*.yaml"))
BY_SEED = {
    "demo": (3, 5),
    "cifar10-openood": (3, 1),
    "cifar100-openood": (3, 1),
    "imagenet200-openood": (3, 1),
    "cifar10-lt": (6, 12),
    "cifar100-lt": (6, 12),
    "imagenet-lt": (6, 8),
}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A folder without data, where the demo's CLIP is configured."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / "weights" / "small_clip.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(small_clip.CONFIG))
    return tmp_path


@cache
def table_of(name):
    return load_table(name)


@cache
def planned(name):
    return cells_of(table_of(name))


def test_all_are_there():
    assert set(SHIPPED) == {
        *BY_SEED,
        *("imagenet-openood", "himplos-cifar", "himplos-imagenet"),
        *("clip-mos", "clip-openood", "clip-clean"),
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_every_cell_is_planned_without_data(name, empty):
    table = table_of(name)
    cells = planned(name)
    assert len({cell.name for cell in cells}) == len(cells)
    assert {row.name for cell in cells for row in cell.rows} == {row.name for row in table.rows}
    if name in BY_SEED:
        seeds, trainings = BY_SEED[name]
        learned = {cell.name for cell in cells if not all(row.deterministic for row in cell.rows)}
        assert (len(table.seeds), len(learned)) == (seeds, seeds * trainings) or name == "demo"
    for cell in cells:
        sets = [item.partition("=")[0] for item in _section(cell)["ood"]]
        assert set(sum(table.groups.values(), ())) <= set(sets)
        assert "${" not in json.dumps(cell.params)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "demo"])
def test_what_is_missing_is_named_before_anything_starts(name, empty):
    table = table_of(name)
    missing = missing_needs(table, empty)
    assert len(missing) == len(table.needs) > 0
    with pytest.raises(DataError, match=re.escape(table.needs[0].path)):
        refuse_missing(table, empty, make=True)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "demo"])
def test_all_files_of_the_settings_are_needed(name):
    """Lists, weights and words that a cell names are among the needs, or below one."""
    table = table_of(name)
    needed = [need.path for need in table.needs]
    for cell in planned(name):
        for path in _files(cell):
            assert any(path == need or path.startswith(f"{need}/") for need in needed), path


@pytest.mark.parametrize("name", SHIPPED)
def test_published_figures_are_of_sets_and_groups_that_are_run(name, empty):
    table = table_of(name)
    sets = {item.partition("=")[0] for cell in planned(name) for item in _section(cell)["ood"]}
    for item in table.published:
        assert set(item.sets) <= sets
        assert set(item.groups) <= set(table.groups)
        assert not (item.tolerance and item.why_not), item.name
        # A published row that used outliers says so, and so does ours.
        row = {row.name: row for row in table.rows}.get(item.row or "")
        assert row is None or ("auxiliary" in item.flags) <= ("auxiliary" in row.flags)


def _section(cell):
    (section,) = cell.params["datasets"].values()
    demo = {"ood": ["clothing", "mnist", "photographs", "textures"]}
    return section if "ood" in section else demo


def _files(cell):
    section = _section(cell)
    root = section.get("root", "")
    for key in ("train_list", "val_list", "test_list"):
        if section.get(key):
            yield f"{root}/{section[key]}"
    for item in (*section["ood"], *section.get("csid", ()), *section.get("val_ood", ())):
        name, _, source = item.partition("=")
        yield (source or f"data/sets/{name}").partition("@")[0]
    if section.get("aux"):
        aux = section["aux"].partition("#")[0]
        yield aux if "/" in aux else f"data/sets/{aux}"
    for found in (cell.params["training"]["weights"], cell.params["negatives"]["words"]):
        if found:
            yield found
