"""Every command and every line of Python of the skill file runs, in order, on a small store."""

import re
import shlex

import numpy as np
import pytest

from ltood.runtime.extras import EXTRAS
from ltood.runtime.params import parse_params
from tests.cli.conftest import ltood  # noqa: F401 - a fixture
from tests.test_docs import ROOT

SKILL = ROOT / "docs" / "skill" / "SKILL.md"
TEXT = SKILL.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def arrays():
    """Features of three classes under the names that the skill uses."""
    rng = np.random.default_rng(0)
    weight = 4 * np.eye(3, 8)
    given = {"weight": weight, "bias": np.zeros(3)}
    for split, rows in (("train", 60), ("val", 30), ("test", 30)):
        labels = np.arange(rows) % 3
        given[f"{split}_x"] = np.abs(weight[labels] + rng.normal(size=(rows, 8)))
        given[f"{split}_y"] = labels
    for name in ("texture", "aux"):
        given[f"{name}_x"] = np.abs(rng.normal(size=(40, 8)))
    return given


def test_the_front_matter_is_that_of_a_skill():
    front = parse_params(TEXT.split("---")[1], SKILL)
    assert front["name"] == "ltood"
    assert 50 < len(front["description"]) <= 1024
    for extra in re.findall(r"ltood\[(\w+)\]", TEXT):
        assert extra in {*EXTRAS, "all"}


@pytest.mark.timeout(120)
def test_all_of_it_runs(ltood, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features").mkdir()
    ran = set()
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(SKILL), "exec"), arrays())
            continue
        assert language == "bash"
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "ltood"
            ltood(*words)
            ran.add(words[0])
    assert ran >= {"import", "compare", "sweep", "score", "evaluate", "report", "predict", "new"}
    for path in re.findall(r"`([\w/]+\.(?:csv|json|html|yaml|safetensors))`", TEXT):
        if path != "params.yaml" and path != "params.schema.json":
            assert (tmp_path / path).is_file(), path


def test_it_is_copied_to_where_agents_look(ltood, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    assert ".claude/skills/ltood/SKILL.md" in ltood("skill").stdout
    ltood("skill", "mine")
    for folder in (".claude/skills", "mine"):
        assert (tmp_path / folder / "ltood" / "SKILL.md").read_bytes() == SKILL.read_bytes()
