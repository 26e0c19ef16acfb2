"""What options leave open, as the pipeline of the current folder has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltood.core.building import EntrySpec
    from ltood.deployment.config import ExportConfig
    from ltood.pipeline import Params
    from ltood.store.features import FeatureStore

#: Key of `params.yaml` and option for settings, by the package of a slot.
_KEYS = {
    "methods": ("method", "--set"),
    "calibrators": ("calibrator", "--calibrator-set"),
    "normalisers": ("normaliser", "--normaliser-set"),
}


def settings_here() -> "Params":
    """Settings of the pipeline in the current folder.

    Raises:
        ConfigError: If there is none.
    """
    from ltood.core.errors import ConfigError
    from ltood.pipeline import Params

    if not Path("params.yaml").is_file():
        raise ConfigError(
            f"there is no pipeline in {Path.cwd()} (it has no params.yaml) whose features and "
            "slots could be taken; name them with --store and --method, or run from the folder of "
            "a pipeline."
        )
    return Params()


def slots_here(
    params: "Params", *slots: tuple[str, str | None, list[str] | None]
) -> "list[EntrySpec]":
    """Slots as `params.yaml` has them, changed by options.

    Args:
        params: Settings of the pipeline.
        slots: Package, name of an entry where an option names one, and KEY=VALUE settings.

    Raises:
        ConfigError: On an unknown name, a missing section or a malformed setting.
    """
    from ltood.core.building import EntrySpec
    from ltood.core.registry import check_name
    from ltood.runtime.params import parse_assignments

    found = []
    for package, name, given in slots:
        key, option = _KEYS[package]
        chosen = params.name(key) if name is None else name
        check_name(package, chosen)
        # Settings are those of the section, as when `params.yaml` named the entry itself.
        settings = {**params.section_of(package, chosen), **parse_assignments(given or [], option)}
        found.append(EntrySpec(chosen, settings))
    return found


def features_here(head: Path | None) -> "FeatureStore":
    """Features of the pipeline as its scoring stages see them.

    Args:
        head: Head to see them through; None takes that of the adapt stage where it made one.

    Raises:
        ConfigError: If there is no pipeline.
        StoreError: If features or head are missing, damaged or do not fit together.
    """
    from ltood.pipeline import features

    return features(settings_here(), *([] if head is None else [head]))


def images_here() -> Path | None:
    """Prepared images of the pipeline, where there are any."""
    from ltood.pipeline import PREPARED

    folder: Path = PREPARED
    return folder if (folder / "manifest.json").is_file() else None


def export_config(params: "Params | None", given: Mapping[str, object]) -> "ExportConfig":
    """Settings of a detector: options, else section export of `params.yaml`, else the defaults.

    Args:
        params: Settings of the pipeline, if they count.
        given: Options by the names of the settings; None where one was not given.
    """
    from ltood.core.settings import parse
    from ltood.deployment.config import ExportConfig

    section = {} if params is None else params.content.get(ExportConfig.section) or {}
    chosen = {key: value for key, value in given.items() if value is not None}
    return parse({**section, **chosen}, ExportConfig, ExportConfig.section)
