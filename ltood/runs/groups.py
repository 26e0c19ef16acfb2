"""Runs that differ in one setting alone, such as the seed, taken together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, quoted
from ltood.evaluation.intervals import ACCURACIES, RESAMPLED
from ltood.metrics import METRICS
from ltood.runs.measured import Measured
from ltood.runs.settings import label

Values = NDArray[np.float64]
#: What a run is measured by: the main metrics and the accuracies.
KEYS: tuple[str, ...] = (*RESAMPLED, *ACCURACIES)
#: What follows from the setting that runs differ in, and no setting of its own.
_FOLLOWS = ("weights", "data")


def keys_of(sets: Sequence[str]) -> tuple[str, ...]:
    """What runs are compared by, first the one that orders them: accuracies alone without sets."""
    return KEYS if sets else ACCURACIES


def higher_is_better(key: str) -> bool:
    """Direction of one of `KEYS`."""
    return key not in METRICS or METRICS[key].higher_is_better


@dataclass(frozen=True)
class Figure:
    """A value of a group, in fractions.

    Attributes:
        value: The mean over its runs; None where a run has none.
        std: Standard deviation over its runs; None of a single run.
        low: Lower end of the 95 % interval over images (and runs); None where there is none.
        high: Upper end.
    """

    value: float | None
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """Runs that are shown as one.

    Attributes:
        name: What it is called.
        runs: Its runs, one or several.
        by: Value of the setting that they differ in, of each; empty of a single run.
    """

    name: str
    runs: tuple[Measured, ...]
    by: tuple[str, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of its first run."""
        return self.runs[0].run.settings

    def values(self, key: str, sets: Sequence[str]) -> list[float | None]:
        """A metric of each run.

        Args:
            key: One of `KEYS`.
            sets: OOD sets over which the mean is taken; accuracies have none.
        """
        return [_value(run.metrics, key, sets) for run in self.runs]

    def draws(self, key: str, sets: Sequence[str]) -> Values | None:
        """Drawn values of a metric, [R, S] of R runs; None where a run has none."""
        found = []
        for run in self.runs:
            if run.draws is None:
                return None
            if key in ACCURACIES:
                found.append(run.draws.id[:, ACCURACIES.index(key)])
                continue
            column = RESAMPLED.index(key)
            if not run.draws.ood.keys() >= set(sets):
                return None
            found.append(np.mean([run.draws.ood[name][:, column] for name in sets], axis=0))
        return np.array(found)

    def figure(self, key: str, sets: Sequence[str]) -> Figure:
        """A metric of the group with what moves it."""
        values = self.values(key, sets)
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return Figure(None)
        std = float(np.std(known, ddof=1)) if len(known) > 1 else None
        drawn = self.draws(key, sets)
        if drawn is None:
            return Figure(float(np.mean(known)), std)
        return Figure(float(np.mean(known)), std, *ends(resampled(drawn)))


def resampled(drawn: Values, salt: int = 0) -> Values:
    """Mean over the runs of a group in each draw, [S], with runs drawn with replacement, too.

    Every run of a draw sees the same images: images and runs are crossed, not nested.

    Args:
        drawn: Drawn values, [R, S].
        salt: Groups of equally many runs are drawn alike if it is equal.
    """
    runs, samples = drawn.shape
    plans = np.random.default_rng([runs, salt]).integers(0, runs, (samples, runs))
    mean: Values = drawn[plans, np.arange(samples)[:, None]].mean(axis=1)
    return mean


def ends(values: Values) -> tuple[float | None, float | None]:
    """Percentiles 2.5 and 97.5; none where fewer than two values were drawn."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None, None
    low, high = np.quantile(known, [0.025, 0.975]).tolist()
    return low, high


def _value(metrics: Mapping[str, Any], key: str, sets: Sequence[str]) -> float | None:
    if key in ACCURACIES:
        found = metrics["id"][key]
        return None if found is None else float(found)
    own = metrics.get("ood", {})
    return float(np.mean([own[name][key] for name in sets])) if own.keys() >= set(sets) else None


def grouped(runs: Sequence[Measured], by: Sequence[str]) -> list[Group]:
    """Runs whose settings are equal but for some, in the order of their first ones.

    Args:
        runs: All runs.
        by: Names of the settings that runs of a group differ in, such as "seed"; none leaves
            every run alone.

    Raises:
        ConfigError: If no run has such a setting.
    """
    if not by:
        return [Group(run.name, (run,), ()) for run in runs]
    names = {name for run in runs for name in run.run.settings}
    for wanted in by:
        if not any(is_setting(name, wanted) for name in names):
            raise ConfigError(
                f"--by is {quoted(wanted)}, which no run records; name a setting such as seed."
            )
    found: dict[str, list[Measured]] = {}
    for run in runs:
        found.setdefault(without(run.run.settings, by), []).append(run)
    return [_group(members, by) for members in found.values()]


def without(settings: Mapping[str, Any], by: Sequence[str]) -> str:
    """Settings but for some and what follows from them, as a text that tells runs apart."""
    kept = {
        name: value
        for name, value in settings.items()
        if name not in _FOLLOWS and not any(is_setting(name, wanted) for wanted in by)
    }
    return json.dumps(kept, sort_keys=True, default=str)


def is_setting(name: str, wanted: str) -> bool:
    """Whether a setting is meant by a name: "seed" means view_seed of an entry, too."""
    last = name.rsplit(".", 1)[-1]
    return name == wanted or last == wanted or last.endswith(f"_{wanted}")


def meant(settings: Mapping[str, Any], by: Sequence[str]) -> list[str]:
    """Settings that names mean: those of just these names where there are any."""
    found = [name for name in settings if any(is_setting(name, wanted) for wanted in by)]
    return [name for name in found if name in by] or found


def _group(members: Sequence[Measured], by: Sequence[str]) -> Group:
    if len(members) == 1:
        return Group(members[0].name, tuple(members), ())
    values = [label(run.run.settings, meant(run.run.settings, by)) for run in members]
    return Group(common_name([run.name for run in members]), tuple(members), tuple(values))


def common_name(names: Sequence[str]) -> str:
    """What the names of runs begin with, without a cut-off word at the end."""
    shortest = min(names, key=len)
    length = next(
        (
            place
            for place in range(len(shortest))
            if any(name[place] != shortest[place] for name in names)
        ),
        len(shortest),
    )
    stem = shortest[:length].rstrip("0123456789")
    for ending in ("seed", "s"):
        stem = stem.rstrip("-_ .=").removesuffix(f"-{ending}").removesuffix(f"_{ending}")
    return stem.rstrip("-_ .=") or names[0]
