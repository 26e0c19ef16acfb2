import os
from pathlib import Path

import pytest

from ltood.core.errors import ConfigError
from ltood.runtime.console import one_line
from ltood.runtime.params import parse_assignments, parse_value, read_params, with_settings


def test_numbers_in_scientific_notation_are_numbers_as_for_dvc(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("lr: 1e-3\n")
    assert read_params(path) == {"lr": 0.001}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "is not valid YAML"),
        ("a: 2020-99-99", "is not valid YAML"),
        ("- 1", "must be a mapping"),
    ],
)
def test_unreadable_parameter_files_are_refused(tmp_path: Path, text, sentence):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_params(path)


def test_missing_parameter_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_params(tmp_path / "params.yaml")


def test_assignments():
    assert parse_assignments(["percentile=60", "clip=1.6", "a=null", "b=x"]) == {
        "percentile": 60,
        "clip": 1.6,
        "a": None,
        "b": "x",
    }


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        (["percentile"], "takes KEY=VALUE"),
        (["=3"], "takes KEY=VALUE"),
        (["clip="], "clip=null"),
        (["clip= "], "clip=null"),
        (["k=1", "k=2"], "--set k is given twice"),
    ],
)
def test_bad_assignments(items, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_assignments(items)


@pytest.mark.parametrize("text", ["[1", "2020-99-99", "a: [b", "\x00", "a: 1\n- 2", "!!int x"])
def test_a_value_that_is_not_yaml(text):
    with pytest.raises(ConfigError, match="is not valid YAML"):
        parse_value(text)


@pytest.mark.parametrize("text", ["", " ", "# x", "---", "!!null"])
def test_null_is_written(text):
    with pytest.raises(ConfigError, match="null"):
        parse_value(text)


@pytest.mark.parametrize("text", ["null", "~", "NULL"])
def test_null_is_null(text):
    assert parse_value(text) is None


DEEP = ("[" * 100_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000, "[" * 21 + "]" * 21)
ANCHORS = (
    "&a 1",
    "[&a 1, *a]",
    "&a [*a]",
    "{a: &x [1], b: *x}",
    "{<<: {a: 1}}",
    "{<<: &x {a: 1}}",
)
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:4])
def test_deep_nesting_is_refused(text, tmp_path):
    with pytest.raises(ConfigError, match="levels"):
        parse_value(text)
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}" if text[0] in "[{" else text)
    with pytest.raises(ConfigError, match="levels"):
        read_params(path)


@pytest.mark.parametrize("text", [*ANCHORS, BOMB])
def test_anchors_aliases_and_merge_keys_are_refused(text, tmp_path):
    with pytest.raises(ConfigError, match=r"anchor|merge key"):
        parse_value(text)
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}" if text is not BOMB else BOMB)
    for read in (read_params, lambda path: with_settings(path, {})):
        with pytest.raises(ConfigError, match=r"anchor|merge key"):
            read(path)


def test_quoted_signs_of_yaml_are_texts():
    assert parse_value("'<<'") == "<<"
    assert parse_value("['*a', '&a']") == ["*a", "&a"]
    assert parse_value("[" * 20 + "]" * 20) is not None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("2020-01-01", "date"),
        ("!!binary aGk=", "bytes"),
        ("!!set {a, b}", "set"),
        ("{1: 2}", "key 1"),
        ("9" * 400, "whole number"),
        ("0x" + "f" * 9000, "whole number"),
        ("x" * 2**18 + "x", "characters"),
    ],
)
def test_values_that_no_setting_takes_are_refused(text, word):
    with pytest.raises(ConfigError, match=word) as caught:
        parse_value(text)
    assert len(one_line(str(caught.value))) < 1000


def test_only_regular_files_of_text_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    for name, word in (("pipe", "regular"), ("folder", "regular"), ("latin", "UTF-8")):
        with pytest.raises(ConfigError, match=word):
            read_params(tmp_path / name)
    with pytest.raises(ConfigError, match="characters"):
        parse_file_of(tmp_path, "a: " + "x" * 2**18)
    assert parse_file_of(tmp_path, "# nothing\n") == {}


def parse_file_of(folder: Path, text: str):
    (folder / "params.yaml").write_text(text)
    return read_params(folder / "params.yaml")
