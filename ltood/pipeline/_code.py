"""Code that a stage runs: its module, all that it imports, and the entries it loads by name.

An entry that holds others, such as an ensemble, loads these by name too.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltood.core.extras import MODULES, groups_of
from ltood.core.holding import held, held_stores
from ltood.pipeline._params import PACKAGES, Params
from ltood.runtime.provenance import code_parts
from ltood.runtime.workspace import locate

#: Stages after `inputs`, and the keys of `params.yaml` whose entries each of them loads.
STAGES: Mapping[str, tuple[str, ...]] = {
    "prepare": ("dataset",),
    "train": ("backbone", "recipe"),
    "extract": ("backbone",),
    "adapt": ("backbone", "recipe"),
    "visualise": (),
    "calibrate": ("calibrator",),
    "score": ("calibrator", "method"),
    "normalise": ("calibrator", "method", "normaliser"),
    "export": ("backbone", "calibrator", "method", "normaliser"),
    "evaluate": (),
    "compare": (),
    "examples": ("calibrator",),
    "report": (),
}
#: Keys of the three slots of stage two, in the order of work.
SLOTS = ("calibrator", "method", "normaliser")
#: Where the stage `inputs` writes what the others depend on.
INPUTS = Path("data/work/inputs")
#: What earlier runs found in our source; may be removed at any time.
SOURCES = Path("data/work/sources.json")


def roots(stage: str, params: Params) -> list[str]:
    """Modules that a stage starts from.

    Args:
        stage: One of `STAGES`.
        params: Name the entries.

    Raises:
        ConfigError: If an entry is not named properly, or is unknown.
    """
    entries = _loaded(stage, params)
    for package, name in list(entries):
        entries += held(package, name, _written(package, name, params))
    names = dict.fromkeys(f"ltood.{package}.{name}" for package, name in entries)
    if stage == "extract":
        names |= dict.fromkeys(MODULES[group] for group in wanted_extras(params))
    # Settings are read on the way to every stage, by a module that does not count.
    return [f"ltood.pipeline.{stage}", "ltood.core.settings", *names]


def wanted_extras(params: Params) -> list[str]:
    """Groups of extra arrays that the stage extract computes, in alphabetical order.

    Raises:
        ConfigError: If a setting is wrong.
        UnknownNameError: If there is no method of a name.
    """
    from ltood.comparing.plan import Config
    from ltood.core.settings import parse
    from ltood.extraction.config import ExtractionConfig

    wanted = parse(params.content.get("extraction"), ExtractionConfig, "extraction").extras
    if wanted != "auto":
        return sorted(set(wanted))
    # Read past `params`: other changes of these keys do not concern a running extraction.
    compared = parse(params.content.get("compare"), Config, "compare").methods
    named = () if isinstance(compared, str) else compared
    names = {str(params.content.get("method")), *named}
    sections = params.content.get("methods") or {}
    groups = {group for name in names for group in groups_of("methods", name, sections.get(name))}
    pooling = (params.content.get("pooling") or {}).get("kind", "average")
    return sorted(groups | ({"pooling"} if pooling != "average" else set()))


def _loaded(stage: str, params: Params) -> list[tuple[str, str]]:
    """Package and name of the entries that a stage loads."""
    if stage != "compare":
        return [(PACKAGES[key], params.name(key)) for key in STAGES[stage]]
    settings = compared(params)["settings"]
    return [(package, name) for package in settings for name in settings[package]]


def _written(package: str, name: str, params: Params) -> object:
    """Settings of an entry as they are written, unchecked."""
    return (params.content.get(package) or {}).get(name)


def code_of(
    stage: str, params: Params, parts_of: Callable[..., dict[str, Any]] = code_parts
) -> dict[str, Any]:
    """Code of a stage that can change a number; see `ltood.runtime.provenance`.

    With it the fingerprints of other feature stores whose rows a stage reads, if any.

    Args:
        stage: One of `STAGES`.
        params: Name the entries.
        parts_of: Gives the code of modules.

    Raises:
        StoreError: If there is no such store.
    """
    parts = parts_of(*roots(stage, params))
    stores = {
        path: _fingerprint(path)
        for package, name in _loaded(stage, params)
        for path in held_stores(package, name, _written(package, name, params))
    }
    return {**parts, "stores": stores} if stores else parts


def _fingerprint(path: str) -> str:
    from ltood.core.other_stores import parts_of
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    place, head = parts_of(path)
    opened = FeatureStore.open(locate(place))
    return with_adapted_head(opened, None if head is None else locate(head)).fingerprint


def compared(params: Params) -> dict[str, Any]:
    """Content of the leaderboard: `rows` of three names, and `settings` by package and name.

    The row of the chosen entries is always among them.

    Raises:
        ConfigError: If the section `compare` is wrong.
    """
    from ltood.comparing.plan import Combination, Config

    packages = [PACKAGES[key] for key in SLOTS]
    own = Combination(*(params.name(key) for key in SLOTS))
    rows = list(params.section("compare", Config).combinations())
    rows += [] if own in rows else [own]
    names = {package: {row[slot] for row in rows} for slot, package in enumerate(packages)}
    sections = {package: params.content.get(package) or {} for package in packages}
    return {
        "rows": [list(row) for row in rows],
        "settings": {
            package: {name: sections[package].get(name) for name in sorted(names[package])}
            for package in packages
        },
    }


def recorded(stage: str, file: str) -> dict[str, Any] | None:
    """Content of one of the files of `INPUTS` as DVC records it; None outside of DVC.

    Args:
        stage: The running stage.
        file: Name without suffix, such as "code/train".
    """
    path = INPUTS / f"{file}.json"
    if os.environ.get("DVC_STAGE") != stage or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
