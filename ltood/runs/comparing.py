"""Several runs beside one another: figures, differences with intervals, and what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltood.core.errors import ConfigError, quoted
from ltood.evaluation.config import SetGroups
from ltood.evaluation.intervals import SAMPLES
from ltood.runs.groups import (
    Figure,
    Group,
    ends,
    grouped,
    higher_is_better,
    is_setting,
    keys_of,
    resampled,
)
from ltood.runs.measured import measured_all, shared_sets
from ltood.runs.settings import differing
from ltood.runs.sources import open_runs


@dataclass(frozen=True)
class Difference:
    """How much better a group is than the one it is held against, in fractions.

    Attributes:
        value: Above 0 where it is better, whichever way the metric points.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end.
        is_paired: Whether both were measured on the same images.
    """

    value: float
    low: float | None
    high: float | None
    is_paired: bool

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class RunComparison:
    """Runs compared.

    Attributes:
        groups: Runs, or groups of them, in the order in which they were named.
        sets: OOD sets that all have which have any; empty where none has any, which leaves
            accuracies.
        others: OOD sets that only some have, and which are left out.
        differing: Names of the settings that differ between groups.
        against: Name of the group that the others are held against.
        samples: Draws of each interval.
        set_groups: OOD sets over which further means are taken, by the name of their group.
    """

    groups: tuple[Group, ...]
    sets: tuple[str, ...]
    others: tuple[str, ...]
    differing: tuple[str, ...]
    against: str
    samples: int
    set_groups: Mapping[str, tuple[str, ...]]

    @property
    def keys(self) -> tuple[str, ...]:
        """What runs are compared by: main metrics first, and accuracies."""
        return keys_of(self.sets)

    @property
    def main(self) -> str:
        """What orders them: the first of `keys` that two of them have."""
        return next((key for key in self.keys if self.best(key) is not None), self.keys[0])

    @property
    def without_sets(self) -> list[str]:
        """Names of the runs that have none of the sets."""
        runs = [run for group in self.groups for run in group.runs]
        return [run.name for run in runs if not run.metrics.get("ood", {}).keys() >= {*self.sets}]

    @property
    def reference(self) -> Group:
        """The group that the others are held against."""
        return next(group for group in self.groups if group.name == self.against)

    def names(self, place: str | None) -> Sequence[str]:
        """OOD sets of a place: all that are shared, those of a group of sets, or a set itself."""
        if place is None:
            return self.sets
        return self.set_groups.get(place, (place,))

    def figure(self, group: Group, key: str, place: str | None = None) -> Figure:
        """A metric of a group: the mean over the shared sets or a group of them, or of one set."""
        return group.figure(key, self.names(place))

    def difference(
        self, group: Group, key: str, place: str | None = None, *, to: Group | None = None
    ) -> Difference | None:
        """How much better a group is than the reference, or than another; None without a value."""
        other = self.reference if to is None else to
        own, its = self.figure(group, key, place).value, self.figure(other, key, place).value
        if own is None or its is None:
            return None
        sign = 1 if higher_is_better(key) else -1
        gap = sign * (own - its)
        drawn, base = (one.draws(key, self.names(place)) for one in (group, other))
        if drawn is None or base is None:
            return Difference(gap, None, None, is_paired=False)
        # The same seeds on both sides are drawn together, others apart.
        salt = 0 if group.by == other.by else 1
        gaps = sign * (resampled(drawn) - resampled(base, salt))
        return Difference(gap, *ends(gaps), is_paired=self._same_rows(group, other))

    def _same_rows(self, one: Group, other: Group) -> bool:
        names = {run.rows for run in (*one.runs, *other.runs)}
        return len(names) == 1 and None not in names

    def best(self, key: str, place: str | None = None) -> Group | None:
        """The group with the best value; None where fewer than two have one."""
        sign = 1 if higher_is_better(key) else -1
        found = [(self.figure(group, key, place).value, group) for group in self.groups]
        known = [(sign * value, group) for value, group in found if value is not None]
        return max(known, key=lambda item: item[0])[1] if len(known) > 1 else None

    @property
    def is_paired(self) -> bool:
        """Whether all runs that have scores were measured on the same images."""
        names = {run.rows for group in self.groups for run in group.runs if run.rows is not None}
        return len(names) <= 1


def compare_runs(
    given: Sequence[str],
    scratch: Path,
    *,
    by: Sequence[str] = (),
    against: str | None = None,
    groups: SetGroups | None = None,
    samples: int = SAMPLES,
) -> RunComparison:
    """Compare runs; the scores of one are in memory at a time.

    Args:
        given: What `open_runs` takes, two or more.
        scratch: Folder for what is read from DVC's cache.
        by: Settings that runs of a group may differ in, such as "seed".
        against: Group that the others are held against; the best mean AUROC by default, or the
            best accuracy where fewer than two have OOD sets.
        groups: OOD sets over which further means are taken.
        samples: Draws of each interval, at least 2.

    Raises:
        LtoodError: If a run cannot be read, the runs share no OOD set, or a name is unknown.
    """
    runs = open_runs(given, scratch)
    if len(runs) < 2:
        raise ConfigError("comparing needs two runs or more; name another one.")
    sets = shared_sets(runs)
    chosen_groups = (groups or SetGroups()).checked(sets)
    others = [name for run in runs for name in run.sets if name not in sets]
    found = measured_all(runs, sets, samples)
    members = grouped(found, by)
    names = differing([group.settings for group in members])
    chosen = RunComparison(
        tuple(members),
        tuple(sets),
        tuple(dict.fromkeys(others)),
        tuple(name for name in names if not any(is_setting(name, wanted) for wanted in by)),
        members[0].name,
        samples,
        chosen_groups.sets,
    )
    return _held_against(chosen, against)


def _held_against(found: RunComparison, against: str | None) -> RunComparison:
    names = [group.name for group in found.groups]
    if against is None:
        best = found.best(found.main)
        return found if best is None else replace(found, against=best.name)
    if against not in names:
        raise ConfigError(f"--against is {quoted(against)}; the runs are {', '.join(names)}.")
    return replace(found, against=against)
