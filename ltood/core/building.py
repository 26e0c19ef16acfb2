"""Entries of the three slots of stage two by name, built once from plain settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, TypeVar

from ltood.core.entry import Entry
from ltood.core.errors import ConfigError
from ltood.core.registry import load
from ltood.core.settings import parse, to_section
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.core.streams import refuse_streams

E_co = TypeVar("E_co", bound=Entry[Any], covariant=True)


@dataclass(frozen=True)
class EntrySpec:
    """An entry by name, with its settings as plain values: what a user writes."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


NONE = EntrySpec("none")


@dataclass(frozen=True, eq=False)
class Slot(Generic[E_co]):
    """An entry that was built from checked settings, with what names it.

    Attributes:
        name: Entry name, such as "knn".
        config: Its checked settings, an instance of the entry's `Config`.
        entry: The entry itself, fitted or not.
    """

    name: str
    config: Any
    entry: E_co

    @property
    def is_none(self) -> bool:
        """Whether the slot leaves everything as it is."""
        return self.name == NONE.name

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as plain values, also those of entries that the entry holds."""
        in_full = getattr(self.config, "in_full", None)
        found: dict[str, Any] = to_section(self.config) if in_full is None else in_full()
        return found

    def record(self) -> dict[str, Any]:
        """Name, settings and what fitting found in data, as score stores keep them."""
        record = {"name": self.name, "settings": self.settings, "in_use": self.entry.derived()}
        found = self.entry.findings()
        return {**record, "findings": found} if found else record


def build_method(spec: EntrySpec) -> Slot[Method]:
    """Build a method.

    Raises:
        ConfigError: On an unknown name or setting.
    """
    module, config = _parsed("methods", spec)
    return Slot(spec.name, config, module.Entry(config))


def build_calibrator(spec: EntrySpec) -> Slot[Calibrator]:
    """Build a calibrator; see `build_method`."""
    module, config = _parsed("calibrators", spec)
    return Slot(spec.name, config, module.Entry(config))


def build_normaliser(spec: EntrySpec, base: Slot[Method]) -> Slot[Normaliser]:
    """Build a normaliser for the scores of method `base`; see `build_method`.

    Raises:
        ConfigError: Also if the normaliser does not take the scores of `base`.
    """
    module, config = _parsed("normalisers", spec)
    if spec.name != NONE.name:
        refuse_streams(base.entry, f"takes no normaliser such as {spec.name}")
    normaliser: Normaliser = module.Entry(config, base=base.name)
    if normaliser.wants_default_base:
        _check_default(spec.name, base)
    return Slot(spec.name, config, normaliser)


def check_settings(package: str, spec: EntrySpec) -> None:
    """Refuse settings that an entry does not take, without building it.

    Args:
        package: "methods", "calibrators" or "normalisers".
        spec: The entry and its settings.

    Raises:
        ConfigError: On an unknown name or setting, or one out of range.
    """
    _parsed(package, spec)


def _parsed(package: str, spec: EntrySpec) -> tuple[ModuleType, Any]:
    module = load(package, spec.name)
    return module, parse(spec.settings, module.Config, f"{package}.{spec.name}")


def _check_default(normaliser: str, base: Slot[Method]) -> None:
    usual = to_section(type(base.config)())
    for name, value in base.settings.items():
        if value != usual[name]:
            raise ConfigError(
                f"methods.{base.name}.{name} is {value!r}, but normaliser {normaliser} is set to "
                f"read the score as it was in training, with the default {usual[name]!r}; set "
                "either back."
            )
