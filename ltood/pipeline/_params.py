"""Content of `params.yaml`, read once per process, and what of it a stage has used."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

from ltood.core.errors import ConfigError
from ltood.core.registry import check_name, load
from ltood.core.settings import parse, to_section
from ltood.runtime.params import params_text, parse_params
from ltood.runtime.provenance import differences
from ltood.runtime.workspace import origin

FILE = Path("params.yaml")
#: Packages of the entries that top-level keys name.
PACKAGES = {
    "dataset": "datasets",
    "backbone": "backbones",
    "recipe": "recipes",
    "calibrator": "calibrators",
    "method": "methods",
    "normaliser": "normalisers",
}
#: Keys that may change while a stage runs, because no result depends on them.
_FREE = (
    "device",
    "training.checkpoint_epochs",
    "training.checkpoint_minutes",
    "training.live",
)

C = TypeVar("C")


@dataclass(frozen=True)
class Chosen:
    """An entry that `params.yaml` names.

    Attributes:
        name: Its name, such as "knn".
        module: Its module, imported.
        config: An instance of `module.Config`.
    """

    name: str
    module: ModuleType
    config: Any

    @property
    def settings(self) -> dict[str, Any]:
        """All its settings, plain values."""
        return to_section(self.config)


class Params:
    """Values of `params.yaml` in the current folder, read once, on first access.

    Attributes:
        used: Values that were read, by path such as "methods.knn".
    """

    def __init__(self) -> None:
        self.used: dict[str, Any] = {}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Settings that are in no file."""
        params = cls()
        vars(params)["content"] = content
        return params

    @cached_property
    def _text(self) -> str:
        return params_text(FILE)

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """All values.

        Raises:
            ConfigError: If the file is missing or unreadable.
        """
        return parse_params(self._text, FILE)

    def value(self, key: str) -> Any:  # noqa: ANN401 - a name, a number or a section
        """One top-level value.

        Raises:
            ConfigError: If the key is missing.
        """
        if key not in self.content:
            raise ConfigError(f"params.yaml has no key {key!r}; add it (see the README).")
        self.used[key] = self.content[key]
        return self.content[key]

    @property
    def seed(self) -> int:
        """Seed of training and prompt learning."""
        found = self.value("seed")
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
            raise ConfigError(
                f"params.yaml: seed is {found!r}; it must be a whole number from 0 to 2**63 - 1."
            )
        return found

    @property
    def device(self) -> str:
        """Device to compute on, such as "auto"."""
        found = self.value("device")
        if not isinstance(found, str):
            raise ConfigError(
                f"params.yaml: device is {found!r}; it must be auto, cpu, cuda or such as cuda:1."
            )
        return found

    def name(self, key: str) -> str:
        """Name that a key of `PACKAGES` holds, known to be that of an entry.

        Raises:
            ConfigError: If it is missing or not a text.
            UnknownNameError: If there is no such entry; gives the nearest names.
        """
        found = self.value(key)
        if not isinstance(found, str):
            raise ConfigError(
                f"params.yaml: {key} is {found!r}; it must be a name (see `ltood list`)."
            )
        package, root = PACKAGES[key], origin()
        if root is not None:
            for new in (Path("ltood", package, f"{found}.py"), Path(package, f"{found}.py")):
                if not new.exists() and (root / new).is_file():
                    raise ConfigError(
                        f"params.yaml: {key} is {found!r}, and git does not track {new}; "
                        "queued and temporary experiments see tracked files only, so "
                        f"`git add {new}` and queue it again."
                    )
        check_name(package, found)
        return found

    def chosen(self, key: str) -> Chosen:
        """The entry that a key of `PACKAGES` names, with its settings.

        Raises:
            ConfigError: On a missing section or a bad setting.
            UnknownNameError: If there is no such entry.
        """
        return self.entry(PACKAGES[key], self.name(key))

    def entry(self, package: str, name: str) -> Chosen:
        """An entry by name, with its settings.

        Raises:
            ConfigError: On a missing section or a bad setting.
            UnknownNameError: If there is no such entry.
        """
        section, where = self.section_of(package, name), f"{package}.{name}"
        module = load(package, name)
        return Chosen(name, module, parse(section, module.Config, where))

    def section_of(self, package: str, name: str) -> Mapping[str, Any]:
        """Settings of an entry as they are written, unchecked.

        Raises:
            ConfigError: If there is no such section.
        """
        sections = self.content.get(package)
        if not isinstance(sections, Mapping) or name not in sections:
            raise ConfigError(
                f"params.yaml has no section {package}.{name}; add one (an empty section is "
                f"`{name}: {{}}`)."
            )
        section = sections[name] or {}
        if not isinstance(section, Mapping):
            raise ConfigError(
                f"params.yaml: {package}.{name} is {section!r}; it must be a section of settings."
            )
        self.used[f"{package}.{name}"] = sections[name]
        return section

    def section(self, key: str, config: type[C]) -> C:
        """A section at the top, such as "training".

        Raises:
            ConfigError: On a bad setting.
        """
        self.used[key] = self.content.get(key)
        return parse(self.used[key], config, key)

    def changes(self) -> list[str]:
        """Used values that differ in the file now, one clause each."""
        if not self.used or (text := params_text(FILE)) == self._text:
            return []
        now = parse_params(text, FILE)
        clauses = []
        for path, before in self.used.items():
            found: Any = now
            for key in path.split("."):
                found = found.get(key) if isinstance(found, Mapping) else None
            clauses += differences(_bound(path, before), _bound(path, found))
        return clauses


def _bound(path: str, value: object) -> dict[str, object]:
    """A value by its path, without what no result depends on."""
    if path in _FREE:
        return {}
    if isinstance(value, Mapping):
        value = {key: inner for key, inner in value.items() if f"{path}.{key}" not in _FREE}
    return {path: value}
