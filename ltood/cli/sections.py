"""Sections of `params.yaml`: those of the pipeline, and one for each entry."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltood.core.settings import Settings

#: Keys of params.yaml that hold one section for each entry of the package of that name.
PACKAGES = ("datasets", "backbones", "recipes", "calibrators", "methods", "normalisers")


def sections() -> "dict[str, tuple[type[Settings], str]]":
    """Settings of each section of the pipeline, and what they are."""
    from ltood.comparing.plan import Config as CompareConfig
    from ltood.deployment.config import ExportConfig
    from ltood.evaluation.config import EvaluationConfig
    from ltood.extraction.config import ExtractionConfig
    from ltood.negatives.settings import NegativesConfig
    from ltood.reporting.config import ReportConfig
    from ltood.store.pooled import PoolingConfig
    from ltood.training.plan import TrainingConfig

    return {
        "training": (TrainingConfig, "Settings of the training loop."),
        "extraction": (ExtractionConfig, "Settings of feature extraction."),
        "evaluation": (EvaluationConfig, "Settings of the metrics."),
        "negatives": (NegativesConfig, "Settings of negative labels of a text head."),
        "pooling": (PoolingConfig, "How the last feature map becomes features."),
        "export": (ExportConfig, "Settings of the detector for new images."),
        "report": (ReportConfig, "Settings of the report."),
        "compare": (CompareConfig, "Entries of the leaderboard."),
    }


def missing_settings(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Settings that a parameter file lacks, with their defaults, as they are nested in it.

    Args:
        content: What the file holds.
        path: The file, for messages.

    Raises:
        ConfigError: If something else stands where a section belongs.
    """
    from ltood.core.registry import available, load

    found: dict[str, Any] = {}
    for name, (config, _) in sections().items():
        found |= _lacking(content, name, config, f"{path}: ")
    for package in PACKAGES:
        entries = _section(content, package, f"{path}: ")
        inner: dict[str, Any] = {}
        for name in available(package):
            inner |= _lacking(entries, name, load(package, name).Config, f"{path}: {package}.")
        if inner:
            found[package] = inner
    return found


def names_of(missing: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of `missing_settings`: a whole section of a file, or a setting of one."""
    for name, value in missing.items():
        if isinstance(value, Mapping) and (name in PACKAGES or name in content):
            yield from (f"{name}.{key}" for key in names_of(value, content.get(name) or {}))
        else:
            yield name


def _section(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    from ltood.core.errors import ConfigError

    found = content.get(name)
    if not isinstance(found, Mapping | None):
        raise ConfigError(f"{where}{name} is {found!r}; it must be a section of settings.")
    return found or {}


def _lacking(
    content: Mapping[str, Any], name: str, config: "type[Settings]", where: str
) -> dict[str, Any]:
    """A section with the settings that it lacks; empty where it lacks none."""
    from ltood.core.settings import is_section, setting_types, to_section

    there = _section(content, name, where)
    defaults = to_section(config())
    lacking: dict[str, Any] = {}
    for key, hint in setting_types(config).items():
        if key not in there:
            lacking[key] = defaults[key]
        elif is_section(hint):
            lacking |= _lacking(there, key, hint, f"{where}{name}.")
    return {name: lacking} if lacking or name not in content else {}
