"""Settings: sections of plain values become frozen dataclasses, strictly.

The dataclass of an entry is the only place where a default stands. Unknown keys,
wrong types and values out of range are refused by name.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ltood.core.errors import ConfigError

C = TypeVar("C")


def parse(section: Mapping[str, Any] | None, config: type[C], where: str) -> C:
    """Build the dataclass `config` from one section, refusing what it does not know.

    Args:
        section: Settings by name; None is an empty section.
        config: A frozen dataclass with typed defaults and range checks.
        where: The section's path for messages, such as "methods.knn", or a class, "KNN:".

    Returns:
        An instance of `config`.

    Raises:
        ConfigError: On an unknown key, a wrong type or a value out of range.
    """
    section = {} if section is None else section
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} is {section!r}; it must be a section of settings.")
    assert dataclasses.is_dataclass(config)  # a fault of ours, not of the user's
    hints = typing.get_type_hints(config)
    fields = [field.name for field in dataclasses.fields(config) if field.init]
    for key in section:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            takes = ", ".join(fields) or "no settings"
            raise ConfigError(f"{where.rstrip(':')} has no key {key!r}.{hint} It takes: {takes}.")
    values = {key: _convert(value, hints[key], _join(where, key)) for key, value in section.items()}
    return config(**values)


def _join(where: str, key: str) -> str:
    """A setting's full name: "methods.knn.k" in a file, "KNN: k" in Python."""
    return f"{where} {key}" if where.endswith(":") else f"{where}.{key}"


def to_section(config: object) -> dict[str, Any]:
    """Turn a settings dataclass back into plain values, as `params.yaml` writes them."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:  # noqa: ANN401
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _convert(value: Any, hint: Any, where: str) -> Any:  # noqa: ANN401
    """Check `value` against a type hint; widen int to float and list to tuple."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        for option in options:
            try:
                return _convert(value, option, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where} is {value!r}; it must be {in_words(hint)}.")
    if origin is Literal:
        options = typing.get_args(hint)
        if any(value == option and type(value) is type(option) for option in options):
            return value
        raise ConfigError(f"{where} is {value!r}; it must be {in_words(hint)}.")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; it must be {in_words(hint)}.")
        inner = typing.get_args(hint)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_convert(item, inner[0], where) for item in value)
        if len(inner) != len(value):
            raise ConfigError(f"{where} has {len(value)} items; it must have {len(inner)}.")
        return tuple(_convert(item, kind, where) for item, kind in zip(value, inner, strict=True))
    if hint is type(None):
        if value is None:
            return None
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    raise ConfigError(f"{where} is {value!r}; it must be {in_words(hint)}.")


def in_words(hint: Any) -> str:  # noqa: ANN401
    """A type hint in plain words, such as "a number or null"."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(in_words(option) for option in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(repr(option) for option in typing.get_args(hint))
    if origin is tuple:
        several = {float: "numbers", int: "whole numbers", str: "texts"}
        inner = typing.get_args(hint)[0]
        return f"a list of {several.get(inner, f'values, each {in_words(inner)}')}"
    words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    return "null" if hint is type(None) else words.get(hint, str(hint))
