"""The pages: examples give what they say, and commands and options they show exist."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from ltood.cli import app
from ltood.comparing.plan import NAMED_ONLY
from ltood.core.registry import available, flag

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MODULES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "ltood").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
WITH_EXAMPLES = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]
COMMANDS = typer.main.get_command(app).commands


def ltood_lines(text):
    """Command lines that start with ltood in fenced blocks, continued lines joined."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("ltood "):
                yield shlex.split(line, comments=True)


def test_there_are_examples():
    names = {page.name for page in WITH_EXAMPLES}
    assert {"python-api.md", "from-other-tools.md", "deploy.md"} <= names
    assert MODULES


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_examples_on_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    for words in ltood_lines(page.read_text(encoding="utf-8")):
        assert words[1] in COMMANDS, words
        # A stage takes its own arguments; groups have commands below them.
        command = COMMANDS[words[1]]
        if words[1] == "stage":
            continue
        if hasattr(command, "commands"):
            assert words[2] in command.commands, words
            command = command.commands[words[2]]
        known = {option for parameter in command.params for option in parameter.opts}
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= known | {"--help"}, words


def test_every_switch_that_repeats_a_published_fault_is_on_its_page():
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "ltood").rglob("*.py"))
    found = {
        name
        for text in sources
        for name in re.findall(r"^    (official_\w+): bool = False$", text, re.M)
    }
    page = (ROOT / "docs/explanation/published-codes.md").read_text(encoding="utf-8")
    assert len(found) > 15
    assert not {name for name in found if name not in page}


def links(text):
    """Targets of Markdown links outside code that stay in the repository."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    return [link for link in found if not re.match(r"\w+:", link)]


def test_links_lead_somewhere():
    own = [ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "llms.txt")]
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in [*own, ROOT / "benchmarks" / "README.md", *PAGES]
        for link in links(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not dead


def test_what_all_leaves_out_is_on_the_page():
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    named = [name for name in available("methods") if flag("methods", name, NAMED_ONLY)]
    assert named
    assert not [name for name in named if f"`{name}`" not in page]
