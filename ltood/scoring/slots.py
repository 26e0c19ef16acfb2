"""The three slots of stage two: entries by name, built from plain settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltood.core.errors import ConfigError
from ltood.core.registry import load
from ltood.core.settings import parse, to_section
from ltood.core.slots import Calibrator, Method, Normaliser


@dataclass(frozen=True)
class EntrySpec:
    """A slot's entry by name, with its settings as plain values."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


NONE = EntrySpec("none")


def build_method(spec: EntrySpec) -> tuple[Method, dict[str, Any]]:
    """Build a method.

    Returns:
        The detector, not fitted, and its complete settings.

    Raises:
        ConfigError: On an unknown name or setting.
    """
    module = load("methods", spec.name)
    config = parse(spec.settings, module.Config, f"methods.{spec.name}")
    detector: Method = module.Entry(config)
    return detector, to_section(config)


def build_calibrator(spec: EntrySpec) -> tuple[Calibrator, dict[str, Any]]:
    """Build a calibrator; see `build_method`."""
    module = load("calibrators", spec.name)
    config = parse(spec.settings, module.Config, f"calibrators.{spec.name}")
    calibrator: Calibrator = module.Entry(config)
    return calibrator, to_section(config)


def build_normaliser(spec: EntrySpec, base: EntrySpec) -> tuple[Normaliser, dict[str, Any]]:
    """Build a normaliser for the scores of method `base`; see `build_method`."""
    module = load("normalisers", spec.name)
    config = parse(spec.settings, module.Config, f"normalisers.{spec.name}")
    normaliser: Normaliser = module.Entry(config, base=base.name)
    if normaliser.wants_default_base:
        usual = to_section(load("methods", base.name).Config())
        changed = [name for name, value in base.settings.items() if value != usual.get(name)]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"methods.{base.name}.{name} is {base.settings[name]!r}, but normaliser "
                f"{spec.name} is set to read the score as it was in training, with the default "
                f"{usual.get(name)!r}; set either back."
            )
    return normaliser, to_section(config)
