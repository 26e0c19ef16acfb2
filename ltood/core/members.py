"""A method that another entry holds: what a user writes of it, checked before anything heavy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from ltood.core.building import (
    NONE,
    EntrySpec,
    Slot,
    build_calibrator,
    build_method,
    build_normaliser,
)
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError, quoted
from ltood.core.holding import HOLDS
from ltood.core.limits import RefusedValueError
from ltood.core.other_stores import reference
from ltood.core.registry import constant
from ltood.core.settings import to_section
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.core.streams import refuse_streams

_SLOTS = ("method", "calibrator", "normaliser")


@dataclass(frozen=True)
class Slots:
    """Entries of a member, not fitted.

    Attributes:
        method: Method.
        calibrator: Calibrator, "none" where rows stay as they are.
        normaliser: Normaliser, "none" where scores stay as they are.
    """

    method: Slot[Method]
    calibrator: Slot[Calibrator]
    normaliser: Slot[Normaliser]


@dataclass(frozen=True)
class Member:
    """A method with its settings, and what stands before and behind it.

    Attributes:
        method: Name of the method.
        settings: Its settings; its own defaults where not given.
        calibrator: Name of the calibrator before it.
        calibrator_settings: Its settings.
        normaliser: Name of the normaliser behind it.
        normaliser_settings: Its settings.
        store: Feature store whose rows it scores, joined by ids; None for the present one.
        head: Folder of a head of the adapt stage, through which that store is seen.
        name: What it is called in tables; made of the other names where not given.
    """

    words: ClassVar[str] = (
        "the name of a method, or a mapping with method and any of settings, calibrator, "
        "calibrator_settings, normaliser, normaliser_settings, store, head and name"
    )

    #: Whether its method may hold others itself.
    may_hold: ClassVar[bool] = False

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    calibrator: str = NONE.name
    calibrator_settings: Mapping[str, Any] = field(default_factory=dict)
    normaliser: str = NONE.name
    normaliser_settings: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None
    head: str | None = None
    name: str = ""

    @classmethod
    def of_setting(cls, value: object) -> Self:
        """A member from its name, a mapping as settings have it, or a method as an object.

        Raises:
            RefusedValueError: If it is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str | Method):
            value = {"method": value}
        known = {item.name for item in fields(cls)}
        if not isinstance(value, Mapping) or "method" not in value or value.keys() - known:
            raise RefusedValueError(cls.words)
        given = {key: item for key, item in value.items() if item is not None}
        for slot in _SLOTS:
            if isinstance(entry := given.get(slot), Entry):
                given[slot], own = _written(entry)
                given.setdefault("settings" if slot == "method" else f"{slot}_settings", own)
        for key, item in given.items():
            if not isinstance(item, Mapping if key.endswith("settings") else str):
                raise RefusedValueError(f"{cls.words}, and its {key} cannot be {quoted(item)}")
        if "head" in given and "store" not in given:
            raise RefusedValueError(f"{cls.words}; a head belongs to a store, which it names too")
        return cls(**given)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of what `of_setting` takes from a file."""
        types = {
            item.name: "object" if item.name.endswith("settings") else "string"
            for item in fields(cls)
        }
        mapping = {
            "type": "object",
            "properties": {name: {"type": [kind, "null"]} for name, kind in types.items()},
            "required": ["method"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, mapping]}

    @property
    def title(self) -> str:
        """What it is called: its own name, else those of its entries, such as "patt+knn"."""
        parts = [self.calibrator, self.method, self.normaliser]
        return self.name or "+".join(part for part in parts if part != NONE.name)

    @property
    def source(self) -> str | None:
        """The other store, seen through its head, as one text; None for the present one."""
        return None if self.store is None else reference(self.store, self.head)

    def build(self) -> Slots:
        """Its entries, not fitted.

        Raises:
            ConfigError: On an unknown name or setting, a method that holds others itself, or a
                normaliser that does not take its scores.
        """
        if not self.may_hold and constant("methods", self.method, HOLDS) is not None:
            raise ConfigError(f"{self.method} holds methods itself; name these as members.")
        method = build_method(EntrySpec(self.method, self.settings))
        refuse_streams(method.entry, "cannot be a member or candidate of another")
        calibrator = build_calibrator(EntrySpec(self.calibrator, self.calibrator_settings))
        if calibrator.entry.train_split != Calibrator.train_split:
            raise ConfigError(
                f"calibrator {self.calibrator} learns from split {calibrator.entry.train_split}, "
                "which members are not given; leave its official switches at their defaults."
            )
        spec = EntrySpec(self.normaliser, self.normaliser_settings)
        return Slots(method, calibrator, build_normaliser(spec, method))

    def plain(self) -> Any:  # noqa: ANN401 - a name or a mapping
        """What a user writes: the name alone where nothing else was given."""
        given = {key: value for key, value in vars(self).items() if value not in ({}, None, "")}
        given = {key: value for key, value in given.items() if value != NONE.name}
        return self.method if given.keys() == {"method"} else given

    def in_full(self) -> dict[str, Any]:
        """The same with every setting, as results record it."""
        slots = self.build()
        full: dict[str, Any] = {"method": self.method, "settings": slots.method.settings}
        if not slots.calibrator.is_none:
            full |= {
                "calibrator": self.calibrator,
                "calibrator_settings": slots.calibrator.settings,
            }
        if not slots.normaliser.is_none:
            full |= {
                "normaliser": self.normaliser,
                "normaliser_settings": slots.normaliser.settings,
            }
        more = {"store": self.store, "head": self.head, "name": self.name}
        return full | {key: value for key, value in more.items() if value}

    def __hash__(self) -> int:
        """Of what a user writes; equal members are equal there."""
        return hash(json.dumps(self.plain(), sort_keys=True, default=str))


def _written(entry: Entry) -> tuple[str, dict[str, Any]]:
    """Name and settings of an entry that was given as an object; defaults are left out."""
    usual = to_section(type(entry.config)())
    settings = {
        key: value for key, value in to_section(entry.config).items() if value != usual[key]
    }
    return type(entry).__module__.rpartition(".")[2], settings
