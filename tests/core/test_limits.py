"""Every setting of every entry refuses what it cannot be, and every range is known."""

import math
import re
from itertools import product
from typing import Annotated, Literal

import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.core.limits import (
    Count,
    Decay,
    Limits,
    Percent,
    Positive,
    RefusedValueError,
    Share,
    convert,
    in_words,
    limits,
)
from ltood.core.registry import available, load
from ltood.core.settings import Settings, describe, meanings, parse

SECTIONS = [
    (kind, name) for kind in ("methods", "calibrators", "normalisers") for name in available(kind)
]

ODD = (
    *(math.nan, math.inf, -math.inf, -1, -0.5, 2**31, 2**63, -(2**63), 10**400, 1e300),
    *(True, None, "", "x", "1", [], [None], [-1.0], [10**400], {}, {"a": 1}, 1j, b"x"),
)


@pytest.mark.parametrize(
    ("hint", "allowed", "refused", "words"),
    [
        (Count, (1, 10**9, np.int64(3)), (0, 10**9 + 1, 1.0, True), "from 1 to 1,000,000,000"),
        (Positive, (1e-300, 3, np.float32(0.5)), (0, -1, math.nan, math.inf, 10**400), "above 0"),
        (Share, (1, 1e-9), (0, 1.0001), "a number above 0 and at most 1"),
        (Decay, (0, 0.999), (1, -0.1), "a number of at least 0 and below 1"),
        (Percent, (0, 100), (-0.1, 100.1), "a number from 0 to 100"),
        (Annotated[float, Limits(above=0, finite=False)], (math.inf,), (math.nan, 0), "above 0"),
        (float, (1, -2.5), (math.inf, math.nan, "1", None), "a number"),
        (Positive | Literal["auto"] | None, (1, "auto", None), ("Auto", 0), "'auto' or null"),
        (tuple[Positive, ...], ((), [1, 2.0]), ([0], 1, "ab"), "a list of values, each a number"),
        (tuple[float, float], ([1, 2],), ([1], [1, 2, 3]), "a list of numbers"),
    ],
)
def test_values_within_the_limits_are_taken(hint, allowed, refused, words):
    assert words in in_words(hint)
    for value in allowed:
        got = convert(value, hint)
        assert got == (tuple(value) if isinstance(value, list) else value)
    for value in refused:
        with pytest.raises(RefusedValueError):
            convert(value, hint)


def test_numbers_become_those_of_python():
    assert type(convert(np.int64(3), Count)) is int
    assert type(convert(3, Positive)) is float
    assert limits(Count | None) == Limits(at_least=1, at_most=10**9)


def refusal(build, *arguments, **settings) -> str:
    try:
        build(*arguments, **settings)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "name"), SECTIONS)
def test_odd_values_are_taken_or_refused_by_name(kind, name):
    config, where = load(kind, name).Config, f"{kind}.{name}"
    assert issubclass(config, Settings)
    for key, value in product(describe(config), ODD):
        parsed, built = refusal(parse, {key: value}, config, where), refusal(config, **{key: value})
        assert parsed == built
        assert not parsed or re.match(rf"{where}\.(low|{key}) is ", parsed)


@pytest.mark.parametrize(("kind", "name"), SECTIONS)
def test_every_setting_has_a_meaning_and_every_number_a_range(kind, name):
    config = load(kind, name).Config
    assert meanings(config).keys() == describe(config).keys()
    for key, told in describe(config).items():
        assert told["meaning"], key
        if isinstance(told["default"], int) and not isinstance(told["default"], bool):
            assert "at_most" in told["limits"], key


def test_a_setting_is_named_as_it_was_given():
    from ltood.calibrators.patt import PATT
    from ltood.methods.knn import KNN, Config

    with pytest.raises(ConfigError, match=r"^KNN: k is 0; it must be a whole number from 1"):
        KNN(k=0)
    with pytest.raises(ConfigError, match=r"^methods\.knn\.k is 0"):
        Config(k=0)
    with pytest.raises(ConfigError, match=r"^here\.k is 0"):
        parse({"k": 0}, Config, "here")
    with pytest.raises(ConfigError, match=r"^PATT: low is 3\.0 and high is 2\.0"):
        PATT(low=3)
    assert KNN(k=np.int64(7)).config == Config(7)
