from dataclasses import dataclass
from typing import Literal

import pytest

from ltood.core.errors import ConfigError
from ltood.core.settings import parse, to_section


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
        ({"pair": [1, 2, 3]}, r"methods\.toy\.pair is .*2 of them"),
        ({"name": 3}, "it must be a text"),
        ([1], "it must be a section of settings"),
    ],
)
def test_bad_settings_are_named(section, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(section, Config, "methods.toy")
