"""What the stage commands share: reading `params.yaml`, errors, paths."""

import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ltood.core.errors import ConfigError
from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.runtime.console import one_line_errors
from ltood.runtime.params import read_params
from ltood.runtime.process import passive_omp_wait

if TYPE_CHECKING:
    from ltood.store.features import FeatureStore

WORK = Path("data/work")
RESULTS = Path("results")
PREPARED = WORK / "prepared"
CHECKPOINT = WORK / "checkpoint"
FEATURES = WORK / "features.zarr"
#: State of an unfinished adapt stage; no output, so that DVC leaves it to a killed run.
ADAPTING = WORK / "adapting"
HEAD = WORK / "head"
REGIONS = WORK / "regions"
CALIBRATION = WORK / "calibration"
RAW_SCORES = WORK / "scores" / "raw.zarr"
FINAL_SCORES = WORK / "scores" / "final.zarr"
LEADERBOARD = RESULTS / "leaderboard.json"
METRICS = RESULTS / "metrics.json"
REPORT = RESULTS / "report.html"
PLOTS = RESULTS / "plots"


def plain_errors(command: Callable[[], None]) -> Callable[[], None]:
    """Wrap a stage so that expected failures end in one line and exit code 1.

    Waiting threads sleep from here on, so that a busy machine is shared.
    """

    @functools.wraps(command)
    def run() -> None:
        passive_omp_wait()
        with one_line_errors():
            command()

    return run


def features() -> "FeatureStore":
    """The feature store, with the head of the adapt stage where it made one.

    Raises:
        StoreError: If store or head is missing, unreadable or they do not fit together.
    """
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    return with_adapted_head(FeatureStore.open(FEATURES), HEAD)


def params() -> dict[str, Any]:
    """Content of `params.yaml` in the current folder.

    Raises:
        ConfigError: If it is missing or unreadable.
    """
    return read_params(Path("params.yaml"))


def value(name: str) -> Any:  # noqa: ANN401 - a top-level key may be a name or a number
    """One top-level key of `params.yaml`.

    Raises:
        ConfigError: If the key is missing.
    """
    content = params()
    if name not in content:
        raise ConfigError(f"params.yaml has no key {name!r}; add it (see the README).")
    return content[name]


def choice(key: str, package: str) -> tuple[str, ModuleType, Any]:
    """The entry that a top-level key names, with its parsed settings.

    Args:
        key: Top-level key such as "method".
        package: Package of its entries, such as "methods".

    Returns:
        Name, imported module and `Config` instance from section `package.name`.

    Raises:
        ConfigError: On an unknown name, a missing section or a bad setting.
    """
    name = value(key)
    if not isinstance(name, str):
        raise ConfigError(f"params.yaml: {key} is {name!r}; it must be a name (see `ltood list`).")
    module = load(package, name)
    sections = params().get(package)
    if not isinstance(sections, dict) or name not in sections:
        raise ConfigError(
            f"params.yaml has no section {package}.{name}; add one (an empty section is "
            f"`{name}: {{}}`)."
        )
    return name, module, parse(sections[name], module.Config, f"{package}.{name}")
