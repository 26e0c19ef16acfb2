from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from ltood.core.errors import ConfigError, quoted
from ltood.core.limits import Count
from ltood.core.settings import Settings, parse, to_section
from ltood.methods.energy import Energy
from ltood.methods.knn import KNN


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


@dataclass(frozen=True)
class Inner(Settings):
    section: ClassVar[str] = "methods.outer.inner"
    k: Count = 3
    name: str = "x"


@dataclass(frozen=True)
class Outer(Settings):
    section: ClassVar[str] = "methods.outer"
    inner: Inner = field(default_factory=Inner)
    flag: bool = False


@pytest.mark.parametrize("given", [{"k": 5}, Inner(k=5)])
def test_a_section_may_hold_a_section(given):
    config = Outer(inner=given)
    assert config.inner == Inner(5)
    assert parse({"inner": given}, Outer, "methods.outer") == config
    assert to_section(config) == {"inner": {"k": 5, "name": "x"}, "flag": False}
    assert parse(to_section(config), Outer, "methods.outer") == config
    assert parse({"inner": None}, Outer, "methods.outer") == Outer()


@pytest.mark.parametrize(
    ("inner", "sentence"),
    [
        ({"k": 0}, r"methods\.outer\.inner\.k is 0"),
        ({"kk": 1}, r"methods\.outer\.inner has no key 'kk'\. Did you mean k\?"),
        (3, r"methods\.outer\.inner is 3; it must be a section"),
    ],
)
def test_errors_name_the_way_to_the_inner_setting(inner, sentence):
    for build in (lambda: parse({"inner": inner}, Outer, "methods.outer"), lambda: Outer(inner)):
        with pytest.raises(ConfigError, match=sentence):
            build()


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


@pytest.mark.parametrize(
    ("section", "start", "end"),
    [
        ({"temperature": "x" * 100_000}, "methods.toy.temperature is 'xxx", "x'; it must be a num"),
        (
            {"widths": ["y"] * 100_000},
            "methods.toy.widths is ['y', 'y'",
            "'y']; it must be a whole number",
        ),
        ({"z" * 100_000: 1}, "methods.toy has no key 'zzz", "z'. It takes: temperature, k"),
        ("w" * 100_000, "methods.toy is 'www", "w'; it must be a section of settings."),
    ],
)
def test_long_values_are_cut_in_messages(section, start, end):
    with pytest.raises(ConfigError) as error:
        parse(section, Config, "methods.toy")
    text = str(error.value)
    assert text.startswith(start)
    assert end in text
    assert text.count("…") == 1
    assert len(text) < 400


def test_a_value_is_quoted_whole_up_to_200_characters():
    assert quoted("x" * 198) == "'" + "x" * 198 + "'"
    assert quoted("x" * 199) == "'" + "x" * 148 + "…" + "x" * 49 + "'"


def test_a_number_too_long_to_write_is_named():
    with pytest.raises(ConfigError, match=r"^KNN: k is a number of thousands of digits; it must"):
        KNN(k=10**5000)


def test_settings_given_in_python_are_cut_alike():
    with pytest.raises(ConfigError, match=r"^Energy: temperature is 'x+…x+'; it must be") as error:
        Energy(temperature="x" * 100_000)
    assert len(str(error.value)) < 400
