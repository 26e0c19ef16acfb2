"""AGENTS.md and llms.txt name files and commands that exist."""

import re

import pytest

from tests.test_docs import COMMANDS, ROOT


@pytest.mark.parametrize("name", ["AGENTS.md", "llms.txt", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    named = re.findall(r"`([\w./-]+/[\w.-]*|[\w-]+\.(?:md|txt|toml|yaml|json|py))`", text)
    own = [
        path
        for path in named
        if not re.search(r"NAME|^build/|/test_|(^|/)_|dvc\.lock|test_knn", path)
    ]
    assert links or own
    for path in links + own:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", ["AGENTS.md", "CONTRIBUTING.md"])
def test_every_command_that_is_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for command in re.findall(r"`ltood ([a-z][a-z-]*)", text):
        assert command in COMMANDS, command
    for script in re.findall(r"python3? ((?:docs|tests|benchmarks)/\w+\.py)", text):
        assert (ROOT / script).is_file(), script


def test_the_index_for_language_models_has_every_page():
    """A new page gets one line in llms.txt; results, recipes and indexes need none."""
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    reached = r"docs/(results|recipes)/|/index\.md$"
    own = {page for page in pages if not re.search(reached, page)}
    assert {page for page in own if f"({page})" not in text} == set()
