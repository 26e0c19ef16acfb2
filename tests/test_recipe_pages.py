"""The pages of the recipes: each has one, with its settings and defaults as they are."""

import json
import re
from pathlib import Path

import pytest

from ltood.core.registry import available, load
from ltood.core.settings import to_section
from ltood.runtime.params import read_params

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "recipes"
PARAMS = read_params(ROOT / "params.yaml")
RECIPES = available("recipes")
#: Sections of the parameter file; what is quoted as a path below one must be there.
SECTIONS = "backbones|calibrators|datasets|extraction|methods|normalisers|recipes|training"


def text(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def quoted_paths(page):
    return re.findall(rf"`((?:{SECTIONS})\.[a-z0-9_.]+)(?:`|: )", page)


def has(path):
    found = PARAMS
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def test_every_recipe_has_a_page_and_every_page_a_recipe():
    assert {path.stem for path in PAGES.glob("*.md")} == {*RECIPES, "README"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_names_every_setting_with_its_default(name):
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| `([^`]*)` \|", text(name), flags=re.MULTILINE)
    stated = {key: value_of(words) for key, words in rows}
    assert stated == to_section(load("recipes", name).Config())


def value_of(words):
    try:
        return json.loads(words)
    except json.JSONDecodeError:
        return words


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_says_what_one_must_know(name):
    parts = re.findall(r"^## (.+)$", text(name), flags=re.MULTILINE)
    assert parts == ["Loss", "Settings", "Needs", "Score its features with", "Measured"]


@pytest.mark.parametrize("name", ["README", *RECIPES])
def test_quoted_parameters_exist(name):
    missing = [path for path in quoted_paths(text(name)) if not has(path)]
    assert not missing


@pytest.mark.parametrize("name", ["README", *RECIPES])
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", text(name)):
        assert (PAGES / target).is_file(), target


def test_the_overview_lists_every_recipe_with_its_views():
    page = text("README")
    for name in RECIPES:
        row = re.search(rf"^\| \[{name}\]\({name}\.md\) \|.*\| (\d) \|$", page, flags=re.MULTILINE)
        assert row, name
        entry = load("recipes", name).Entry
        assert int(row[1]) == getattr(entry, "num_views", 0)


def test_the_overview_maps_every_setting_that_reproduces_a_fault():
    paths = set(quoted_paths(text("README")))
    for kind, name in (("recipes", "imood"), ("normalisers", "imood"), ("calibrators", "patt")):
        faults = {key for key in PARAMS[kind][name] if key.startswith("official_")}
        faults -= {"official_batch", "official_aux_batch"}  # sizes, not faults
        assert {f"{kind}.{name}.{key}" for key in faults} <= paths
