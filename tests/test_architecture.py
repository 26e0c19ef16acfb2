"""docs/architecture.md and README.md name every room, and the layers of the import contract."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from ltood.core.registry import KINDS, available

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT / "benchmarks"))

from house import survey  # noqa: E402

HOUSE = survey(ROOT)
ROOMS = sorted(path.parent.name for path in (ROOT / "ltood").glob("*/__init__.py"))


def block(mark):
    """The fenced block that follows a comment."""
    found = re.search(rf"<!-- {mark}: .*?-->\n```\n(.*?)\n```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1).splitlines()


def test_the_tree_names_exactly_the_rooms_there_are():
    named = [line.split("/")[0].strip() for line in block("tree")[1:] if line.startswith("  ")]
    assert sorted(named) == ROOMS


def test_the_layers_are_those_of_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert block("layers") == layers


@pytest.mark.parametrize("room", ROOMS)
def test_the_readme_names_the_room(room):
    layout = README[README.index("## Layout") :]
    assert f"`{room}/`" in layout


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_says_what_it_holds(room):
    assert (ROOT / "ltood" / room / "__init__.py").read_text(encoding="utf-8").startswith('"""')


def test_no_file_has_more_than_400_lines():
    assert {name: lines for name, lines in HOUSE.files.items() if lines > 400} == {}


def test_only_methods_may_hold_more_than_12_percent_of_the_lines():
    shares = {room: HOUSE.share(room) for room in HOUSE.rooms if room != "methods"}
    assert {room: share for room, share in shares.items() if share > 0.12} == {}


@pytest.mark.parametrize("room", KINDS)
def test_every_entry_has_a_test_file(room):
    tested = {path.stem for path in (ROOT / "tests" / room).glob("test_*.py")}
    assert [name for name in available(room) if f"test_{name}" not in tested] == []
