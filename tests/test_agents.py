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
