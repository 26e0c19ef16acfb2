from pathlib import Path

import pytest

from ltood.core.errors import ConfigError
from ltood.runtime.params import parse_assignments, parse_value, read_params


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
        (["k=1", "k=2"], "--set k is given twice"),
    ],
)
def test_bad_assignments(items, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_assignments(items)


@pytest.mark.parametrize("text", ["[1", "2020-99-99"])
def test_a_value_that_is_no_yaml(text):
    with pytest.raises(ConfigError, match="is not a YAML value"):
        parse_value(text)
