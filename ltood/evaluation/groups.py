"""Metrics of several OOD sets as one section: each set, the mean over all, and over each group."""

from collections.abc import Mapping
from typing import Any

from ltood.core.prior import ClassPrior
from ltood.evaluation.comparison import Comparison
from ltood.evaluation.config import SetGroups
from ltood.metrics import mean_over

_ALARMS = "false_alarms"


def summed_up(per_set: Mapping[str, Mapping[str, Any]], groups: SetGroups) -> dict[str, Any]:
    """Metrics by set with their means; each set has the same weight.

    Args:
        per_set: Metrics by set.
        groups: Groups of sets; all of their names must be there.

    Returns:
        `{"ood": {NAME: {...}}, "mean": {...}}`, and `{"groups": {GROUP: {...}}}` if there are any;
        nothing without sets.

    Raises:
        DataError: If a group names a set that is not there.
    """
    groups = groups.checked(per_set)
    if not per_set:
        return {}
    found: dict[str, Any] = {"ood": dict(per_set), "mean": mean_of(per_set)}
    if groups.sets:
        found["groups"] = {
            group: mean_of({name: per_set[name] for name in names})
            for group, names in groups.sets.items()
        }
    return found


def mean_of(per_set: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of the metrics over OOD sets, each with the same weight.

    Args:
        per_set: Metrics by set, perhaps with `false_alarms` by class group.
    """
    sets = list(per_set.values())
    means = mean_over([{k: v for k, v in row.items() if k != _ALARMS} for row in sets])
    if _ALARMS in sets[0]:
        means[_ALARMS] = mean_over([row[_ALARMS] for row in sets])
    return means


def with_alarms(comparison: Comparison, prior: ClassPrior) -> dict[str, Any]:
    """Metrics of one set with its false alarms by class group, as tables of methods have them."""
    return {**comparison.metrics, _ALARMS: comparison.false_alarms(prior)}
