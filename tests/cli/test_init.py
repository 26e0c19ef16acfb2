import os

import pytest

from ltood.core.registry import available
from ltood.runtime.params import read_params


@pytest.mark.parametrize(
    "content", [None, "", "methods:\n", "# Mine.\nmethods:\n  msp:\n", "# x\n"]
)
def test_what_is_empty_is_filled(ltood, content, tmp_path):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content)
    ltood("init", "--params", path)
    assert set(read_params(path)["methods"]) == set(available("methods"))
    assert "nothing is missing" in ltood("init", "--params", path, "--check").stdout
    assert path.read_text().count("#") == (content or "").count("#")


MINE = "method: energy  # mine\nmethods:\n  energy:\n    temperature: 2.0\n"


def test_what_is_there_stays(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(MINE)
    ltood("init", "--params", path)
    assert path.read_text().startswith(MINE)
    assert "himplos" in read_params(path)["methods"]


def test_check_only_lists(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(MINE)
    assert "methods.himplos" in ltood("init", "--params", path, "--check", code=1).stderr
    assert path.read_text() == MINE


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("- a\n", "mapping"),
        ("a: [b\n", "YAML"),
        ("methods: all\n", "methods is 'all'"),
        ("a: " + "[" * 30_000, "levels"),
        ("a: &a [*a]", "anchor"),
        ("a:\n  merge: *self", "anchor"),
    ],
)
def test_what_cannot_be_read_is_left_alone(ltood, content, word, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    said = ltood("init", "--params", path, code=1).stderr
    assert word in said
    assert said.count("\n") == 1
    assert path.read_text() == content


def test_only_regular_files_are_read(ltood, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert "regular" in ltood("init", "--params", path, code=1).stderr
