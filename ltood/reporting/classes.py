"""The long tail in the report: accuracy and false alarms by class group and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltood.core.errors import DataError
from ltood.core.prior import GROUPS, ClassPrior
from ltood.reporting import figures
from ltood.reporting.panels import Panel
from ltood.reporting.tables import ABSENT, Cell, Row, percent


@dataclass(frozen=True)
class ClassPanel:
    """What is shown of the class groups.

    Attributes:
        groups: Per group: classes, training images, accuracy.
        false_alarms: Per OOD set and group: share of ID images flagged.
        missed: Per OOD set: OOD images missed, and the share predicted in each group.
        classes: Per class: group, training and test images, accuracy.
        panels: Figures.
    """

    groups: list[Row]
    false_alarms: list[Row]
    missed: list[Row]
    classes: list[Row]
    panels: list[Panel]


def class_panel(
    metrics: Mapping[str, Any],
    breakdown: Mapping[str, Any],
    prior: ClassPrior,
    names: Sequence[str],
) -> ClassPanel:
    """Tables and figures of the class groups.

    Args:
        metrics: Metrics in fractions; gives the accuracies of the groups.
        breakdown: What `evaluation.breakdown` gives.
        prior: Training counts.
        names: Class names, [C].

    Raises:
        DataError: If the breakdown lacks a part or is of other classes or OOD sets.
    """
    classes = _part(breakdown, "classes")
    false_alarms, missed = _part(breakdown, "false_alarms"), _part(breakdown, "missed_ood")
    if not len(classes) == len(names) == prior.num_classes:
        raise DataError(
            f"the breakdown has {len(classes)} classes, {len(names)} names and "
            f"{prior.num_classes} training counts; all three must be the same classes. Run the "
            "evaluate stage again."
        )
    for title, part in (("false_alarms", false_alarms), ("missed_ood", missed)):
        absent = sorted(set(metrics["ood"]) - set(part))
        if absent:
            raise DataError(
                f"the breakdown has no {title} of {', '.join(absent)}; make it from the same "
                "scores as the metrics."
            )
    groups = prior.groups()
    accuracies = [entry["accuracy"] for entry in classes]
    values = np.array([np.nan if value is None else value for value in accuracies], dtype=float)
    sets = list(metrics["ood"])
    scatter = figures.class_accuracy(
        prior.counts,
        values,
        names,
        groups.tolist(),
        "Accuracy of each class over its number of training images, marked by class group",
    )
    bars = figures.group_bars(
        {name: false_alarms[name] for name in sets},
        "Share of ID images flagged at 95 percent OOD recall, by class group and OOD set",
    )
    return ClassPanel(
        [_group_row(group, metrics["id"], prior) for group in GROUPS],
        [
            Row(name, _shares(name, false_alarms[name], ("all", *GROUPS), "false alarms"))
            for name in sets
        ],
        [
            Row(
                name,
                [
                    Cell(f"{missed[name]['num_missed']:,}"),
                    *_shares(name, missed[name], GROUPS, "missed OOD"),
                ],
            )
            for name in sets
        ],
        [
            _class_row(name, entry, int(count), str(group))
            for name, entry, count, group in zip(names, classes, prior.counts, groups, strict=True)
        ],
        [
            Panel(scatter, "Accuracy over training images. A slope to the left is the long tail."),
            Panel(bars, "Who pays for the alarms: ID images flagged, by group of their class."),
        ],
    )


def _part(breakdown: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - JSON content
    if key not in breakdown:
        raise DataError(
            f"the breakdown has no part {key!r}; it has {', '.join(breakdown) or 'none'}. Pass "
            "what evaluation.breakdown gives."
        )
    return breakdown[key]


def _group_row(group: str, accuracies: Mapping[str, Any], prior: ClassPrior) -> Row:
    counts = prior.counts[prior.groups() == group]
    span = f"{counts.min():,} to {counts.max():,}" if len(counts) else ABSENT
    accuracy = percent(accuracies[group], f"the accuracy of group {group}")
    return Row(group, [Cell(str(len(counts))), Cell(span), Cell(accuracy)])


def _shares(name: str, values: Mapping[str, Any], keys: Sequence[str], what: str) -> list[Cell]:
    return [Cell(percent(values[key], f"{what} of {name}, {key}")) for key in keys]


def _class_row(name: str, entry: Mapping[str, Any], count: int, group: str) -> Row:
    accuracy = percent(entry["accuracy"], f"the accuracy of class {name}")
    return Row(
        name,
        [
            Cell(group, is_text=True),
            Cell(f"{count:,}"),
            Cell(f"{entry['num_test']:,}"),
            Cell(accuracy),
        ],
    )
