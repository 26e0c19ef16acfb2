"""Check plain data against a JSON Schema, with a sentence that names the place and the rule.

It knows the words that `record.schema.json` uses. The rule of a sentence is the description there.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ltood.core.errors import DataError, quoted

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "null": lambda value: value is None,
}


def check_form(value: object, schema: Mapping[str, Any], where: str) -> None:
    """Refuse data that break a schema.

    Args:
        value: Plain data.
        schema: The schema; references point into its definitions.
        where: What holds the data, for messages.

    Raises:
        DataError: If it breaks a rule, naming the place, the value and the rule.
    """
    _check(value, schema, schema.get("definitions", {}), where, "")


def _check(
    value: object, rule: Mapping[str, Any], known: Mapping[str, Any], where: str, place: str
) -> None:
    if "$ref" in rule:
        rule = known[rule["$ref"].rpartition("/")[2]]
    if not _fits(value, rule):
        named = f"{where}: {place}" if place else where
        raise DataError(f"{named} is {quoted(value)}; it must be {rule['description']}.")
    if isinstance(value, Mapping):
        _check_keys(value, rule, known, where, place)
    elif isinstance(value, list):
        if len(value) < rule.get("minItems", 0):
            raise DataError(f"{where}: {place} is empty; it must be {rule['description']}.")
        for number, item in enumerate(value):
            _check(item, rule["items"], known, where, f"{place}[{number}]")


def _fits(value: object, rule: Mapping[str, Any]) -> bool:
    """Whether a value has the type, and is within the bounds, that its own rule gives."""
    if "enum" in rule:
        # True equals 1 in Python, and not in JSON.
        return any(type(value) is type(item) and value == item for item in rule["enum"])
    types = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if not any(_TYPES[name](value) for name in types):
        return False
    if isinstance(value, str):
        return re.search(rule.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        return bool(rule.get("minimum", value) <= value <= rule.get("maximum", value))
    return True


def _check_keys(
    value: Mapping[str, Any],
    rule: Mapping[str, Any],
    known: Mapping[str, Any],
    where: str,
    place: str,
) -> None:
    named = f"{where}: {place}" if place else where
    for key in rule.get("required", ()):
        if key not in value:
            raise DataError(f"{named} has no {key}; it must be {rule['description']}.")
    properties, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for key, item in value.items():
        inner = f"{place}.{key}" if place else str(key)
        if key in properties:
            _check(item, properties[key], known, where, inner)
        elif others is False:
            raise DataError(
                f"{named} has the key {quoted(key)}; it takes {', '.join(sorted(properties))}."
            )
        elif isinstance(others, Mapping):
            _check(item, others, known, where, inner)
