"""Look at everything that the other stages depend on: settings, data, weights and code.

Bad settings are refused here, before anything heavy starts. What is found goes into small files,
on which the other stages depend by content; see docs/caching.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError
from ltood.core.extras import groups_of
from ltood.core.holding import held_stores
from ltood.core.settings import Settings
from ltood.pipeline._code import INPUTS, STAGES, code_of, compared, wanted_extras
from ltood.pipeline._head_parts import check_head_parts, reads_parts
from ltood.pipeline._params import PACKAGES, Params
from ltood.pipeline._shell import (
    ADAPTING,
    CHECKPOINT,
    EXTRACTING,
    FEATURES,
    HEAD,
    SOURCES,
    TRAINING,
    WORK,
    stage,
)
from ltood.pipeline._watched import WATCHED
from ltood.runtime.files import require_regular
from ltood.runtime.provenance import digest
from ltood.runtime.source import remember
from ltood.runtime.workspace import locate

#: Digest of the settings and the code of the last check that found nothing wrong.
CHECKED = WORK / "checked"
#: Keys of two entries that must fit together.
_PAIR = ("method", "normaliser")


@stage("inputs")
def run(params: Params) -> None:
    """Check params.yaml, write digests, and keep finished work that DVC is about to delete."""
    for key in PACKAGES:
        params.name(key)
    check_extras(params)
    code = {name: code_of(name, params) for name in STAGES}
    state = digest(decisive(params, code))
    # Checking takes torch, which takes a second: once for each state of settings and code.
    if not CHECKED.is_file() or CHECKED.read_text() != state:
        check(params)
    for file, _, describe in WATCHED.values():
        write(INPUTS / f"{file}.json", describe(params))
    write(INPUTS / "compare.json", compared(params))
    for name, parts in code.items():
        write(INPUTS / "code" / f"{name}.json", parts)
    keep_finished()
    remember(locate(SOURCES))
    require_regular(CHECKED)
    CHECKED.write_text(state)


def check(params: Params) -> None:
    """Refuse a bad setting of any stage, as that stage would.

    Raises:
        ConfigError: On the first one.
        MissingPackageError: If the report at the end lacks a package.
    """
    from ltood.deployment.config import ExportConfig
    from ltood.evaluation.config import EvaluationConfig
    from ltood.extraction.config import ExtractionConfig
    from ltood.negatives.settings import NegativesConfig
    from ltood.reporting.config import ReportConfig
    from ltood.reporting.write import check_packages
    from ltood.store.pooled import PoolingConfig
    from ltood.training.plan import TrainingConfig

    check_packages()
    params.section("training", TrainingConfig)
    params.section("extraction", ExtractionConfig)
    params.section("evaluation", EvaluationConfig)
    params.section("negatives", NegativesConfig)
    params.section("pooling", PoolingConfig)
    params.section("export", ExportConfig)
    params.section("report", ReportConfig)
    _ = params.seed, params.device
    for package, name in _entries(params):
        config = params.entry(package, name).config
        if isinstance(config, Settings):
            config.look_up()
    check_validation(params)
    check_head_parts(params)
    if not _is_normalised(params):
        return

    from ltood.core.building import EntrySpec, build_method, build_normaliser

    method, normaliser = (
        EntrySpec(chosen.name, chosen.settings) for chosen in map(params.chosen, _PAIR)
    )
    build_normaliser(normaliser, build_method(method))


def check_validation(params: Params) -> None:
    """Refuse early stopping where the data set has no split val.

    Raises:
        ConfigError: If a setting is wrong.
        DataError: If the data set cannot be read.
        MissingNeedError: If there is no such split.
    """
    from ltood.training.plan import TrainingConfig

    config = params.section("training", TrainingConfig)
    if config.early_stopping is None:
        return
    from ltood.recipes import TrainingRecipe
    from ltood.training.stopping import require_validation

    dataset, recipe = params.chosen("dataset"), params.chosen("recipe")
    if issubclass(recipe.module.Entry, TrainingRecipe):
        require_validation(config, dataset.module.Dataset(dataset.config).splits())


def check_extras(params: Params) -> None:
    """Refuse a method whose extra arrays the stage extract would not give it.

    Raises:
        ConfigError: If they are not asked for, or do not go with the pooling.
    """
    method, kind = params.name("method"), "average"
    pooling, sections = params.content.get("pooling"), params.content.get("methods")
    if isinstance(pooling, Mapping):
        kind = pooling.get("kind", kind)
    settings = sections.get(method) if isinstance(sections, Mapping) else None
    # Members that read another store take their arrays from there.
    others = held_stores("methods", method, settings)
    needed = set() if others else groups_of("methods", method, settings)
    if needed and kind != "average":
        raise ConfigError(
            f"pooling.kind is {kind!r}, but method {method} reads the extra arrays "
            f"{', '.join(sorted(needed))}, which are there for average pooling alone; set "
            "pooling.kind to average, or choose another method."
        )
    asked = wanted_extras(params)
    if lacking := sorted((needed | ({"pooling"} if kind != "average" else set())) - set(asked)):
        reader = f"method {method}" if needed else f"pooling.kind {kind}"
        raise ConfigError(
            f"extraction.extras is [{', '.join(asked)}], but {reader} reads "
            f"{', '.join(lacking)}; add it, or set extraction.extras to auto."
        )


def _entries(params: Params) -> list[tuple[str, str]]:
    """Package and name of all entries that some stage loads."""
    chosen = {(package, params.name(key)) for key, package in PACKAGES.items()}
    settings = compared(params)["settings"]
    return sorted(chosen | {(package, name) for package in settings for name in settings[package]})


def _is_normalised(params: Params) -> bool:
    """Whether there is a normaliser, which may not take the scores of every method."""
    return params.name("normaliser") != "none"


def decisive(params: Params, code: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that decides the result of the check.

    A method that the leaderboard shows has been checked with it. So it does not count which of
    them is chosen, and trying one after the other needs no torch here; but for methods that must
    fit the normaliser or the head.
    """
    content = {key: value for key, value in params.content.items() if key not in PACKAGES}
    merged: dict[str, dict[str, str]] = {}
    for parts in code.values():
        for kind, digests in parts.items():
            merged.setdefault(kind, {}).update(digests)
    has_partner = _is_normalised(params) or reads_parts(params)
    pair = [params.name(key) for key in _PAIR] if has_partner else []
    return {"params": content, "entries": _entries(params), "pair": pair, "code": merged}


def keep_finished() -> None:
    """Keep checkpoint and features, such as those that DVC checked out, outside its outputs.

    DVC deletes the outputs of a stage before it runs, also what the stage would use again.
    """
    from ltood.extraction.kept import keep_splits
    from ltood.networks.checkpoint_files import META
    from ltood.runtime.kept import keep
    from ltood.store.adapted import DOCUMENT

    keep(CHECKPOINT, TRAINING, META)
    keep(HEAD, ADAPTING, DOCUMENT)
    keep_splits(FEATURES, EXTRACTING)


def write(path: Path, content: Any) -> None:  # noqa: ANN401 - any plain value
    """Write plain values, the same bytes for equal values.

    Raises:
        StoreError: If something else than a file has that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    require_regular(path)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
