from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from ltood.core.errors import ConfigError
from ltood.core.settings import parse, parse_assignments, parse_value, read_params, to_section


@dataclass(frozen=True)
class Config:
    temperature: float = 1.0
    k: int = 50
    variant: Literal["p", "b"] = "p"
    clip: float | Literal["auto"] | None = "auto"
    flag: bool = False
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 2.0)
    name: str = "x"


def test_defaults_and_round_trip():
    config = parse(None, Config, "methods.toy")
    assert config == Config()
    assert parse(to_section(config), Config, "methods.toy") == config
    assert to_section(config)["widths"] == [1, 2]


@pytest.mark.parametrize(
    ("section", "field", "expected"),
    [
        ({"temperature": 2}, "temperature", 2.0),
        ({"clip": None}, "clip", None),
        ({"clip": 1}, "clip", 1.0),
        ({"clip": "auto"}, "clip", "auto"),
        ({"widths": [3, 4, 5]}, "widths", (3, 4, 5)),
        ({"pair": [1, 2]}, "pair", (1.0, 2.0)),
        ({"flag": True}, "flag", True),
    ],
)
def test_values_are_converted(section, field, expected):
    value = getattr(parse(section, Config, "methods.toy"), field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"temprature": 2}, r"methods\.toy has no key 'temprature'\. Did you mean temperature\?"),
        ({"zzz": 2}, "It takes: temperature, k, variant"),
        ({"temperature": "hot"}, r"methods\.toy\.temperature is 'hot'; it must be a number"),
        ({"temperature": True}, "it must be a number"),
        ({"k": 1.5}, r"methods\.toy\.k is 1\.5; it must be a whole number"),
        ({"k": True}, "it must be a whole number"),
        ({"variant": "s"}, "it must be 'p' or 'b'"),
        ({"clip": "none"}, "it must be a number or 'auto' or null"),
        ({"flag": 1}, "it must be true or false"),
        ({"widths": 3}, "must be a list of whole numbers"),
        ({"pair": [1, 2, 3]}, "has 3 items; it must have 2"),
        ({"name": 3}, "it must be a text"),
        ([1], "it must be a section of settings"),
    ],
)
def test_bad_settings_are_named(section, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(section, Config, "methods.toy")


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
