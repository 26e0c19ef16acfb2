"""Published rows of a table: quoted figures, their source, and what they compare with."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltood.core.errors import ConfigError, quoted

_KEYS = {
    *("name", "source", "row", "values", "sets", "groups", "flags", "tolerance", "why_not"),
    *("seeds", "std"),
}


@dataclass(frozen=True)
class Published:
    """A row as published.

    Attributes:
        name: What it is called.
        source: Paper or page that the figures were read in.
        row: Our row that repeats it; None where there is none.
        values: Means over the OOD sets in percent, by key of the metric.
        std: Their standard deviations in percent, where published.
        sets: The same by OOD set.
        groups: The same by group of OOD sets.
        flags: Why it may not be compared at face value.
        tolerance: Points by which ours may differ for `ltood table check`; None checks nothing.
        why_not: Why ours cannot be compared with it; empty where it can.
        seeds: Runs that it is the mean of, where published.
    """

    name: str
    source: str
    row: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)
    sets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    tolerance: float | None = None
    why_not: str = ""
    seeds: int | None = None

    def checked(self) -> dict[str, dict[str, float]]:
        """Figures to check, by place ("", "/svhn" or "@near") and key."""
        places = {"": self.values}
        places |= {f"/{name}": values for name, values in self.sets.items()}
        places |= {f"@{name}": values for name, values in self.groups.items()}
        return {place: dict(values) for place, values in places.items() if values}


def published_of(
    items: Sequence[object], rows: Collection[str], flags: Collection[str], where: str
) -> tuple[Published, ...]:
    """Published rows of a table's file.

    Args:
        items: What the file says.
        rows: Names of the table's own rows.
        flags: Known flags.
        where: The file, for messages.

    Raises:
        ConfigError: If one breaks a rule, naming the key.
    """
    return tuple(
        _published(item, rows, flags, f"{where}: published[{place}]")
        for place, item in enumerate(items)
    )


def _published(
    item: object, rows: Collection[str], flags: Collection[str], where: str
) -> Published:
    if not isinstance(item, Mapping) or (unknown := set(item) - _KEYS):
        said = quoted(item) if not isinstance(item, Mapping) else f"with {sorted(unknown)[0]!r}"
        raise ConfigError(f"{where} is {said}; it takes {', '.join(sorted(_KEYS))}.")
    for key in ("name", "source"):
        if not isinstance(item.get(key), str) or not item[key]:
            raise ConfigError(f"{where}: {key} is {quoted(item.get(key))}; it must be a text.")
    if item.get("row") is not None and item["row"] not in rows:
        raise ConfigError(f"{where}: row is {item['row']!r}; the table has {', '.join(rows)}.")
    chosen = item.get("flags") or []
    if not isinstance(chosen, list) or not set(chosen) <= set(flags):
        raise ConfigError(f"{where}: flags is {quoted(chosen)}; known are {', '.join(flags)}.")
    tolerance = item.get("tolerance")
    if tolerance is not None and (type(tolerance) not in (int, float) or tolerance <= 0):
        raise ConfigError(f"{where}: tolerance is {quoted(tolerance)}; it must be above 0.")
    seeds = item.get("seeds")
    if seeds is not None and (type(seeds) is not int or seeds < 1):
        raise ConfigError(f"{where}: seeds is {quoted(seeds)}; it must be a number of runs.")
    return Published(
        item["name"],
        item["source"],
        item.get("row"),
        _figures(item.get("values"), f"{where}: values"),
        _figures(item.get("std"), f"{where}: std"),
        _by_name(item.get("sets"), f"{where}: sets"),
        _by_name(item.get("groups"), f"{where}: groups"),
        tuple(chosen),
        None if tolerance is None else float(tolerance),
        str(item.get("why_not") or ""),
        seeds,
    )


def _by_name(given: object, where: str) -> dict[str, dict[str, float]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {quoted(given)}; it must be a section.")
    return {name: _figures(values, f"{where}.{name}") for name, values in given.items()}


def _figures(given: Any, where: str) -> dict[str, float]:  # noqa: ANN401 - read from a file
    from ltood.metrics import JUDGED, METRICS

    known = {*METRICS, *JUDGED, "accuracy", "many", "medium", "few"}
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {quoted(given)}; it must be a section of figures.")
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{where} has {key!r}; known are {', '.join(sorted(known))}.")
        if type(value) not in (int, float) or not 0 <= value <= 100:
            raise ConfigError(f"{where}.{key} is {quoted(value)}; it must be a percentage.")
    return {key: float(value) for key, value in given.items()}
