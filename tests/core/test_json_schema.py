"""The schema of a setting takes what ltood takes, and refuses what it refuses."""

import math
from itertools import product
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from ltood.core.json_schema import section_schema, type_schema
from ltood.core.limits import Count, Limits, Positive, RefusedValueError, Share, convert
from ltood.core.registry import available, load
from ltood.core.settings import describe, setting_types

KINDS = ("methods", "calibrators", "normalisers", "datasets", "backbones", "recipes")
CONFIGS = {f"{kind}.{name}": (kind, name) for kind in KINDS for name in available(kind)}


def config_of(section):
    return load(*CONFIGS[section]).Config


def is_taken(value, hint):
    try:
        convert(value, hint)
    except RefusedValueError:
        return False
    return True


def around(number):
    """Values at, just below and just above a bound."""
    if isinstance(number, int):
        return (number - 1, number, number + 1)
    return (math.nextafter(number, -math.inf), number, math.nextafter(number, math.inf))


def values(hint):
    """Values that may be wrong for a type: of other types, and around each of its bounds."""
    bounds = [setting for name, setting in type_schema(hint).items() if "imum" in name.lower()]
    for option in type_schema(hint).get("anyOf", ()):
        bounds += [setting for name, setting in option.items() if "imum" in name.lower()]
    yield from (
        True,
        False,
        None,
        "",
        "x",
        "auto",
        "all",
        [],
        [None],
        ["x"],
        [0.5, -1],
        {},
        {"a": 1},
    )
    yield from (0, 1, -1, 3, 0.5, -0.5, math.inf, -math.inf, 1e308, 2**62)
    for bound in bounds:
        yield from around(bound)


@pytest.mark.parametrize("section", CONFIGS)
def test_each_setting_is_refused_by_both_or_by_none(section):
    for key, hint in setting_types(config_of(section)).items():
        validator = Draft7Validator(type_schema(hint))
        for value in values(hint):
            if not (isinstance(value, float) and value.is_integer()):  # 1.0 is whole to a schema
                assert validator.is_valid(value) == is_taken(value, hint), (key, value)


@pytest.mark.parametrize("section", CONFIGS)
def test_defaults_and_meanings_are_in_the_schema(section):
    config = config_of(section)
    schema = section_schema(config, "What it is.")
    Draft7Validator.check_schema(schema)
    assert schema["description"] == "What it is."
    for key, said in describe(config).items():
        found = schema["properties"][key]
        assert (found["default"], found["description"]) == (said["default"], said["meaning"])
        assert Draft7Validator(found).is_valid(found["default"])
    assert Draft7Validator(schema).is_valid(None)
    assert not Draft7Validator(schema).is_valid({"no such setting": 1})


def test_a_section_inside_another_is_one_in_the_schema():
    from ltood.training.plan import TrainingConfig

    schema = section_schema(TrainingConfig)
    inner = schema["properties"]["policies"]
    assert inner["default"] == {key: item["default"] for key, item in inner["properties"].items()}
    for policies, taken in (({"steps": 3}, True), ({"steps": -1}, False), ({"step": 1}, False)):
        assert Draft7Validator(schema).is_valid({"policies": policies}) == taken


HINTS = (
    *(bool, int, float, str, Count, Share, Positive | None, Literal["auto", "off"] | Count),
    *(tuple[Positive, ...], tuple[float, int], tuple[str, ...] | Literal["all"] | None),
    *(Annotated[float, Limits(above=0, finite=False)], Annotated[int, Limits(below=5)]),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3) | st.sampled_from(["auto", "all", "off"])
    | st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-2, 8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)  # fmt: skip


def holds_whole_float(value):
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, float) and item.is_integer() for item in items)


@given(st.sampled_from(HINTS), PLAIN)
def test_any_plain_value_is_refused_by_both_or_by_none(hint, value):
    if not holds_whole_float(value):
        assert Draft7Validator(type_schema(hint)).is_valid(value) == is_taken(value, hint)


def test_the_property_meets_values_that_are_taken():
    taken = [(hint, value) for hint, value in product(HINTS, (True, 1, 0.5, "auto", [0.5, 1], None))
             if is_taken(value, hint)]  # fmt: skip
    assert len({str(hint) for hint, _ in taken}) == len(HINTS)
