"""Cells of a table: one training with one seed, and all rows that read it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltood.core.errors import ConfigError
from ltood.core.registry import load
from ltood.core.settings import parse, setting_types, to_section
from ltood.runtime.provenance import digest
from ltood.tables.seeds import with_seed
from ltood.tables.settings import settings_of
from ltood.tables.spec import Row, Table

#: Names at the top of params.yaml with the packages of their entries.
_CHOICES = {
    "dataset": "datasets",
    "backbone": "backbones",
    "recipe": "recipes",
    "calibrator": "calibrators",
    "method": "methods",
    "normaliser": "normalisers",
}
#: Settings that decide what an entry draws.
_SEEDS = ("seed", "shots_seed", "view_seed")
_SLOTS = ("calibrator", "method", "normaliser")
#: No number depends on these, so that they do not name a cell.
_FREE = ("device",)


@dataclass(frozen=True)
class Cell:
    """One training with one seed.

    Attributes:
        name: Unique in the table and the same wherever it is planned.
        seed: Its seed.
        rows: Rows that are read from it.
        params: All settings that it runs with, in sections as in params.yaml.
    """

    name: str
    seed: int
    rows: tuple[Row, ...]
    params: Mapping[str, Any]


def cells_of(table: Table) -> list[Cell]:
    """All cells of a table, seed by seed, so that a first whole table is there early.

    Raises:
        ConfigError: If a setting is unknown or out of range.
    """
    found: dict[str, Cell] = {}
    for place, seed in enumerate(table.seeds):
        for training in _trainings(table, seed):
            # Further seeds would repeat a row that no seed changes.
            rows = tuple(row for row in training if place == 0 or not row.deterministic)
            if rows:
                cell = _cell(table, rows, seed)
                found[cell.name] = cell
    return list(found.values())


def _trainings(table: Table, seed: int) -> Iterator[list[Row]]:
    """Rows that share everything but calibrator, method and normaliser."""
    groups: dict[str, list[Row]] = {}
    for row in table.rows:
        settings = merged(table.params, row.params, {"seed": seed})
        groups.setdefault(digest(settings), []).append(row)
    yield from groups.values()


def _cell(table: Table, rows: tuple[Row, ...], seed: int) -> Cell:
    settings = merged(table.params, rows[0].params, {"seed": seed})
    params = complete(settings, table, rows)
    named = {key: value for key, value in params.items() if key not in _FREE}
    label = re.sub(r"[^a-z0-9]+", "-", rows[0].name.lower()).strip("-")[:40]
    return Cell(f"{label}-seed{seed}-{digest(named)[:8]}", seed, rows, params)


def merged(*sections: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings, of which later ones win; lists are replaced whole."""
    found: dict[str, Any] = {}
    for section in sections:
        for key, value in section.items():
            if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
                found[key] = merged(found[key], value)
            else:
                found[key] = merged(value) if isinstance(value, Mapping) else value
    return found


def complete(settings: Mapping[str, Any], table: Table, rows: tuple[Row, ...]) -> dict[str, Any]:
    """All settings of a cell, those that nobody gave with their defaults.

    The rest of params.yaml has no effect, so that a table gives the same numbers everywhere.

    Raises:
        ConfigError: If a setting is unknown or out of range.
    """
    from ltood.comparing.plan import Config as CompareConfig
    from ltood.evaluation.config import EvaluationConfig
    from ltood.extraction.config import ExtractionConfig
    from ltood.negatives.settings import NegativesConfig
    from ltood.training.plan import TrainingConfig

    given = with_seed(_with_preset(settings, table.name), settings.get("seed", 0))
    chosen: dict[str, str] = {}
    for key in ("dataset", "backbone", "recipe"):
        if not isinstance(name := given.get(key), str):
            raise ConfigError(f"table {table.name}: params has no {key}; name one.")
        chosen[key] = name
    chosen |= {slot: getattr(rows[0], slot) for slot in _SLOTS}
    params: dict[str, Any] = {**chosen, "seed": given.get("seed", 0), "device": "auto"}
    groups = {name: list(names) for name, names in table.groups.items()}
    compared = {f"{slot}s": list(dict.fromkeys(getattr(r, slot) for r in rows)) for slot in _SLOTS}
    for key, config, section in (
        ("training", TrainingConfig, given.get("training")),
        ("extraction", ExtractionConfig, given.get("extraction")),
        ("negatives", NegativesConfig, given.get("negatives")),
        ("evaluation", EvaluationConfig, {"groups": groups}),
        ("compare", CompareConfig, compared),
    ):
        params[key] = to_section(parse(section, config, f"table {table.name}: {key}"))
    for key, package in _CHOICES.items():
        names = compared[package] if key in _SLOTS else [chosen[key]]
        sections = given.get(package) or {}
        params[package] = {
            name: _entry(package, name, sections.get(name), params["seed"], table.name)
            for name in names
        }
    known = {*params, "preset"}
    if unknown := sorted(set(given) - known):
        raise ConfigError(
            f"table {table.name}: params has no key {unknown[0]!r}; it takes "
            f"{', '.join(sorted(known))}."
        )
    return params


def _entry(
    package: str, name: str, section: Mapping[str, Any] | None, seed: int, table: str
) -> dict[str, Any]:
    """All settings of an entry; what it draws follows the seed of the cell unless it is given."""
    config = load(package, name).Config
    drawn = {key: seed for key in _SEEDS if key in setting_types(config)}
    return to_section(
        parse({**drawn, **(section or {})}, config, f"table {table}: {package}.{name}")
    )


def _with_preset(settings: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    """Settings on top of the published ones that they name as `preset`."""
    name = settings.get("preset")
    if name is None:
        return settings
    if not isinstance(name, str):
        raise ConfigError(f"table {table}: preset is {name!r}; name one (`ltood preset`).")
    published, _ = settings_of(name)
    # What entries draw follows the seed of the cell, whichever one seed was published.
    return merged(_without_seeds(published), settings)


def _without_seeds(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_seeds(value) if isinstance(value, Mapping) else value
        for key, value in section.items()
        if key not in _SEEDS
    }
