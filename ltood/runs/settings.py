"""Settings of runs by their names in `params.yaml`, and which of them differ."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Kinds of entries by the part of the provenance that records them, with the entry's package.
_ORIGINS = {"dataset": "datasets", "backbone": "backbones", "recipe": "recipes"}
_SLOTS = {"calibrator": "calibrators", "method": "methods", "normaliser": "normalisers"}
#: Sections of the provenance that are sections of params.yaml, too.
_SECTIONS = ("training", "extraction")
#: What else the provenance says of how features were made, under names that people know.
_FURTHER = {
    "data": ("dataset", "sha256"),
    "weights": ("checkpoint", "weights_sha256"),
    "precision": ("precision",),
    "ltood": ("libraries", "ltood"),
    "torch": ("libraries", "torch"),
}


def settings_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of stored scores, as far as they record them.

    Args:
        attributes: Attributes of a score store.

    Returns:
        Values by dotted names, as in `params.yaml`; then what else made them: digests of data and
        weights, and versions.
    """
    provenance = attributes.get("provenance") or {}
    found: dict[str, Any] = {}
    for kind, package in _ORIGINS.items():
        found |= _entry(kind, package, provenance.get(kind))
    for slot, package in _SLOTS.items():
        found |= _entry(slot, package, attributes.get(slot))
    if "seed" in provenance:
        found["seed"] = provenance["seed"]
    for name in _SECTIONS:
        found |= dotted(name, provenance.get(name) or {})
    for name, path in _FURTHER.items():
        value: Any = provenance
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found[name] = value
    return found


def _entry(kind: str, package: str, record: object) -> dict[str, Any]:
    """Name and settings of an entry, of which the record may be the name alone."""
    if isinstance(record, str):
        return {kind: record}
    if not isinstance(record, Mapping) or "name" not in record:
        return {}
    name = str(record["name"])
    return {kind: name, **dotted(f"{package}.{name}", record.get("settings") or {})}


def dotted(key: str, value: object) -> dict[str, Any]:
    """Values of a section by dotted names; lists stay whole, and an empty section has none."""
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found.update(dotted(f"{key}.{name}", inner))
    return found


def differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of settings that differ between runs that record them, in the order of the first ones.

    A run that does not have a setting says nothing of it: it uses other entries, which their names
    tell, or does not record it.
    """
    found = []
    for name in dict.fromkeys(name for run in runs for name in run):
        having = [run[name] for run in runs if name in run]
        if any(value != having[0] for value in having):
            found.append(name)
    return found


def shown(value: object) -> str:
    """A value as a reader sees it; digests are cut."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:8] if is_digest else text


def label(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """What is special about a run, in few words, such as "recipe patt, seed 1"."""
    parts = []
    for name in names:
        value = shown(settings.get(name))
        if name not in settings or (name in _SLOTS and value == "none"):
            continue
        last = name.rsplit(".", 1)[-1]
        parts.append(value if name in {*_ORIGINS, *_SLOTS} else f"{last}={value}")
    return ", ".join(parts)
