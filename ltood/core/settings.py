"""Settings: sections of plain values become frozen dataclasses, strictly.

The dataclass of an entry is the only place where a default, a range and a meaning stand: the
default as a value, the range in the type (`k: Count = 50`), the meaning in the docstring. Unknown
keys, wrong types and values out of range are refused by name.
"""

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ltood.core.errors import ConfigError, quoted
from ltood.core.limits import RefusedValueError, convert, in_words, limits

#: Where the first clause of a meaning ends, which a range may follow.
_CLAUSE = re.compile(r"[;.:] |, (?=\d|above|at |below|finite)")

#: Types of settings by class; they take a while to resolve.
_KNOWN_HINTS: dict[type, dict[str, Any]] = {}


class SettingError(ConfigError):
    """A value that a setting does not allow.

    Attributes:
        key: Name of the setting.
        fault: What is wrong, as the rest of a sentence that begins with the setting.
    """

    def __init__(self, where: str, key: str, fault: str) -> None:
        """Name the setting as `where` has it: "methods.knn.k" in a file, "KNN: k" in Python."""
        self.key, self.fault = key, fault
        dot = " " if where.endswith(":") else "."
        super().__init__(f"{where}{dot}{key} {fault}")


@dataclass(frozen=True)
class Settings:
    """Base of all settings; checks every value when it is built.

    Attributes:
        section: Section of `params.yaml` that it is read from.
    """

    section: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Settings of an entry, `ltood/methods/knn.py`, are in the section `methods.knn`."""
        super().__init_subclass__()
        if "section" not in vars(cls):
            cls.section = ".".join(cls.__module__.split(".")[1:3])

    def __post_init__(self) -> None:
        """Convert every value to its type and check it."""
        for name, value in _converted(type(self), vars(self), self.section).items():
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Refuse values that do not fit one another; raise `self.fault`."""

    def look_up(self) -> None:
        """Refuse names that only another package knows; raise `self.fault`.

        That takes the seconds in which the package is loaded, so it is asked once, before the work.
        """

    def fault(self, key: str, fault: str) -> SettingError:
        """The error that setting `key` raises, such as `fault("low", "is above high; ...")`."""
        return SettingError(self.section, key, fault)


C = TypeVar("C")


def parse(section: Mapping[str, Any] | None, config: type[C], where: str) -> C:
    """Build the settings `config` from one section, refusing what it does not know.

    Args:
        section: Settings by name; None is an empty section.
        config: Class of the settings, or another frozen dataclass with types as settings have.
        where: The section's path for messages, such as "methods.knn", or a class, "KNN:".

    Returns:
        An instance of `config`.

    Raises:
        ConfigError: On an unknown key, a wrong type or a value out of range.
    """
    section = {} if section is None else section
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where} is {quoted(section)}; it must be a section of settings.")
    known = list(setting_types(config))
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            takes = ", ".join(known) or "no settings"
            raise ConfigError(
                f"{where.rstrip(':')} has no key {quoted(key)}.{hint} It takes: {takes}."
            )
    try:
        return config(**_converted(config, section, where))
    except SettingError as error:
        raise SettingError(where, error.key, error.fault) from None


def _converted(config: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values as the types of `config` have them."""
    hints, converted = setting_types(config), {}
    for name, value in values.items():
        if is_section(hints[name]):
            converted[name] = _inner(value, hints[name], where, name)
            continue
        try:
            converted[name] = convert(value, hints[name])
        except RefusedValueError as error:
            meaning = meanings(config).get(name, "")
            said = f" ({_CLAUSE.split(meaning)[0].rstrip('.')})" if meaning else ""
            raise SettingError(
                where, name, f"is {quoted(_plain(value))}; it must be {error}{said}."
            ) from None
    return converted


def is_section(hint: Any) -> bool:  # noqa: ANN401
    """Whether a setting is itself a section of settings, such as `training.policies`."""
    return isinstance(hint, type) and issubclass(hint, Settings)


def _inner(value: Any, config: type, where: str, name: str) -> Any:  # noqa: ANN401
    """Settings of a section inside another; errors name the way to it."""
    if isinstance(value, config):
        return value
    try:
        return parse(value, config, f"{where}.{name}")
    except SettingError as error:
        raise SettingError(where, f"{name}.{error.key}", error.fault) from None


def to_section(config: object) -> dict[str, Any]:
    """Turn settings back into plain values, as `params.yaml` writes them."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def describe(config: type) -> dict[str, dict[str, Any]]:
    """Types, limits and defaults of all settings, as plain values.

    Returns:
        For each setting `type` (in words, with its limits), `default`, `limits` (at_least,
        above, at_most, below, where set) and `meaning`.
    """
    defaults, said = to_section(config()), meanings(config)
    return {
        name: {
            "type": in_words(hint),
            "default": defaults[name],
            "limits": limits(hint).plain(),
            "meaning": said.get(name, ""),
        }
        for name, hint in setting_types(config).items()
    }


def meanings(config: type) -> dict[str, str]:
    """Meaning of each setting, from the section "Attributes" of the docstrings."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        text = inspect.cleandoc(vars(base).get("__doc__") or "").partition("\nAttributes:\n")[2]
        for entry in re.split(r"\n(?= {4}\w)", f"\n{text}")[1:]:
            name, _, meaning = entry.strip().partition(": ")
            if name in setting_types(config):
                found[name] = " ".join(meaning.split())
    return found


def setting_types(config: type) -> dict[str, Any]:
    """Type of each setting with its limits, in the order of the settings."""
    if config not in _KNOWN_HINTS:
        assert dataclasses.is_dataclass(config)  # a fault of ours, not of the user's
        hints = typing.get_type_hints(config, include_extras=True)
        fields = [field.name for field in dataclasses.fields(config) if field.init]
        _KNOWN_HINTS[config] = {name: hints[name] for name in fields}
    return _KNOWN_HINTS[config]


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "of_setting"):
        return value.plain()
    if isinstance(value, Settings):
        return to_section(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
