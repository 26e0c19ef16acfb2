"""Entries that hold others, such as an ensemble its members: which ones, without importing them.

An entry that names methods in its settings says so in a line of its file that is read and not run:

    HOLDS = {"members": ("knn", {"method": "vim", "settings": {"dim": 64}})}

The keys are the settings, the values what stands there by default. A member is the name of a
method, or a mapping with `method`, `settings`, and perhaps `calibrator`, `calibrator_settings`,
`normaliser`, `normaliser_settings`.

An entry that reads other feature stores without holding methods names the settings that list them:

    STORES = ("others",)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ltood.core.registry import check_name, constant

#: Names of the lines.
HOLDS = "HOLDS"
STORES = "STORES"
#: Packages of what a member names.
_PACKAGES = {"method": "methods", "calibrator": "calibrators", "normaliser": "normalisers"}


def held(package: str, name: str, settings: object) -> list[tuple[str, str]]:
    """Package and name of all entries that an entry holds, also through others.

    Args:
        package: Such as "methods".
        name: Such as "ensemble".
        settings: Its settings as they are written, unchecked; what has no sense is skipped.

    Raises:
        UnknownNameError: If there is no entry of a name.
    """
    return list(dict.fromkeys(_held(package, name, settings)))


def _held(package: str, name: str, settings: object) -> Iterator[tuple[str, str]]:
    written = settings if isinstance(settings, Mapping) else {}
    for key, usual in (constant(package, name, HOLDS) or {}).items():
        members = written.get(key)
        members = usual if members is None else members
        for member in members if isinstance(members, list | tuple) else ():
            yield from _named(member)


def held_stores(package: str, name: str, settings: object) -> list[str]:
    """Other feature stores that an entry or its members read, each as a `reference`; see `held`."""
    written = settings if isinstance(settings, Mapping) else {}
    found = []
    stores = constant(package, name, STORES)
    for key in stores if isinstance(stores, tuple) else ():
        listed = written.get(key)
        for other in listed if isinstance(listed, list | tuple) else ():
            found += _references({"store": other} if isinstance(other, str) else other)
    for key, usual in (constant(package, name, HOLDS) or {}).items():
        members = written.get(key)
        members = usual if members is None else members
        for member in members if isinstance(members, list | tuple) else ():
            if isinstance(member, Mapping):
                found += _references(member)
                found += held_stores("methods", str(member.get("method")), member.get("settings"))
    return list(dict.fromkeys(found))


def _references(written: object) -> list[str]:
    """The store that something names, seen through its head; none where it names none."""
    parts: Mapping[str, Any] = written if isinstance(written, Mapping) else {}
    store, head = parts.get("store"), parts.get("head")
    if not isinstance(store, str):
        return []
    from ltood.core.other_stores import reference

    return [reference(store, head if isinstance(head, str) else None)]


def _named(member: object) -> Iterator[tuple[str, str]]:
    """Entries that one member names, and what they hold."""
    parts: Mapping[str, Any] = member if isinstance(member, Mapping) else {"method": member}
    for key, package in _PACKAGES.items():
        name = parts.get(key)
        if isinstance(name, str):
            check_name(package, name)
            yield package, name
            inner = "settings" if key == "method" else f"{key}_settings"
            yield from _held(package, name, parts.get(inner))
