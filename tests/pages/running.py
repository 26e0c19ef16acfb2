"""Run the blocks of a page in order, as a reader would who types them in."""

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ltood.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(name: str) -> ModuleType:
    """A script of docs/, imported."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


BLOCKS = script("make_notebooks").blocks


def run_page(
    page: str, monkeypatch: pytest.MonkeyPatch, stand_ins: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run all blocks in the current folder; returns the names that Python blocks left.

    Blocks with a title are written to that file. Lines with $ in blocks of the console run: those
    that start with `ltood` in this process, others as a program.

    Args:
        page: Path below docs/.
        monkeypatch: For the command line.
        stand_ins: What the tests put in the place of parts of the text, each there once.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    for part, stand_in in (stand_ins or {}).items():
        assert text.count(part) == 1, part
        text = text.replace(part, stand_in)
    names: dict[str, Any] = {}
    for block in BLOCKS(text):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.language == "console":
            for command in block.commands():
                run_command(command, monkeypatch)
    return names


def run_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command line; a command that fails is a failure."""
    words = shlex.split(command, comments=True)
    if words[:3] == ["python", "-m", "pytest"]:
        run_tests(Path(words[-1]))
        return
    if words[0] != "ltood":
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert not code, command


def run_tests(folder: Path) -> None:
    """Call the tests of a folder, which take no fixtures; a pytest of its own takes seconds."""
    files = sorted(folder.glob("test_*.py"))
    assert files
    for file in files:
        names: dict[str, object] = {}
        exec(compile(file.read_bytes(), str(file), "exec"), names)
        tests = [found for name, found in names.items() if name.startswith("test_")]
        assert tests
        for test in tests:
            assert callable(test)
            test()
