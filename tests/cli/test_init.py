import os

import pytest

from ltood.core.registry import available
from ltood.core.settings import to_section
from ltood.runtime.params import read_params
from ltood.training.plan import TrainingConfig


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
    assert "# Mine." not in (content or "") or "# Mine." in path.read_text()


OLD = {"steps": 2, "lists": "auto"}
MINE = "method: energy  # mine\nmethods:\n  energy:\n    temperature: 2.0\n"


def test_what_is_there_stays(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(MINE)
    ltood("init", "--params", path)
    assert path.read_text().startswith(MINE)
    assert "himplos" in read_params(path)["methods"]


def test_a_setting_of_a_newer_version_is_added_to_a_section(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    ltood("init", "--params", path)
    whole, written = read_params(path), path.read_text()
    lines = written.splitlines(keepends=True)
    # What a reader of an older version has: no index, no ranks of policies, no section report.
    gone = [lines.index(f"    {key}: {value}\n") for key, value in OLD.items()]
    report = lines.index("report:\n")
    old = [line for n, line in enumerate(lines) if n not in (*gone, report, report + 1)]
    path.write_text("".join(old).replace("    k: 50\n", "    k: 7  # mine\n\n    # Later.\n"))
    said = ltood("init", "--params", path).stdout
    assert said == f"{path}: added training.policies.steps, report, methods.knn.lists\n"
    whole["methods"]["knn"]["k"] = 7
    assert read_params(path) == whole
    assert "    k: 7  # mine\n\n    # Later.\n    normalise: true\n" in path.read_text()


def test_a_comment_comes_with_its_setting(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("training:\n  epochs: 7\n")
    ltood("init", "--params", path)
    text = path.read_text()
    assert text.startswith("training:\n  epochs: 7\n  batch_size:")
    assert "  amp: auto  # auto, off, bf16, fp16\n" in text
    # Values of the demo's file are its own; what a section lacks takes the default.
    assert read_params(path)["training"] == {**to_section(TrainingConfig()), "epochs": 7}


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


def test_lists_of_entries_in_a_section_are_settings_like_others(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("compare:\n  methods:\n  - knn\n")
    assert "compare.calibrators" in ltood("init", "--params", path).stdout
    assert read_params(path)["compare"]["methods"] == ["knn"]
