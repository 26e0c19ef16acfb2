"""The long tail in the report: accuracy and false alarms by class group and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltood.core.prior import GROUPS, ClassPrior
from ltood.evaluation.measures import Evaluation
from ltood.reporting import figures
from ltood.reporting.panels import Panel
from ltood.reporting.tables import ABSENT, Cell, Row, percent


@dataclass(frozen=True)
class ClassPanel:
    """Panel of the class groups.

    Attributes:
        groups: Per group: classes, training images, accuracy.
        false_alarms: Per OOD set and group: share of ID images flagged.
        missed: Per OOD set: OOD images missed, and the share predicted in each group.
        classes: Per class: group, training and test images, accuracy.
        panels: Figures: of the accuracy, and of the false alarms where there are OOD sets.
    """

    groups: list[Row]
    false_alarms: list[Row]
    missed: list[Row]
    classes: list[Row]
    panels: list[Panel]


def class_panel(evaluation: Evaluation) -> ClassPanel:
    """Tables and figures of the class groups and of the classes."""
    prior, breakdown = evaluation.prior, evaluation.breakdown
    classes, false_alarms = breakdown["classes"], breakdown["false_alarms"]
    return ClassPanel(
        [_group_row(group, evaluation.id_metrics, prior) for group in GROUPS],
        [
            Row(name, _shares(name, values, ("all", *GROUPS), "false alarms"))
            for name, values in false_alarms.items()
        ],
        [_missed_row(name, values) for name, values in breakdown["missed_ood"].items()],
        [_class_row(entry) for entry in classes],
        [_accuracy_panel(classes, prior), *([_alarm_panel(false_alarms)] if false_alarms else [])],
    )


def _accuracy_panel(classes: Sequence[Mapping[str, Any]], prior: ClassPrior) -> Panel:
    shares = [np.nan if entry["accuracy"] is None else entry["accuracy"] for entry in classes]
    scatter = figures.class_accuracy(
        prior.counts,
        np.array(shares, dtype=float),
        [entry["name"] for entry in classes],
        [entry["group"] for entry in classes],
        "Accuracy of each class over its number of training images, marked by class group",
    )
    return Panel(scatter, "Accuracy over training images. A slope to the left is the long tail.")


def _alarm_panel(false_alarms: Mapping[str, Mapping[str, Any]]) -> Panel:
    bars = figures.group_bars(
        false_alarms,
        "Share of ID images flagged at 95 percent OOD recall, by class group and OOD set",
    )
    return Panel(bars, "Who pays for the alarms: ID images flagged, by group of their class.")


def _group_row(group: str, accuracies: Mapping[str, Any], prior: ClassPrior) -> Row:
    counts = prior.counts[prior.groups() == group]
    span = f"{counts.min():,} to {counts.max():,}" if len(counts) else ABSENT
    accuracy = percent(accuracies[group], f"the accuracy of group {group}")
    return Row(group, [Cell(str(len(counts))), Cell(span), Cell(accuracy)])


def _shares(name: str, values: Mapping[str, Any], keys: Sequence[str], what: str) -> list[Cell]:
    return [Cell(percent(values[key], f"{what} of {name}, {key}")) for key in keys]


def _missed_row(name: str, values: Mapping[str, Any]) -> Row:
    cells = [Cell(f"{values['num_missed']:,}"), *_shares(name, values, GROUPS, "missed OOD")]
    return Row(name, cells)


def _class_row(entry: Mapping[str, Any]) -> Row:
    name = entry["name"]
    cells = [
        Cell(entry["group"], is_text=True),
        Cell(f"{entry['num_train']:,}"),
        Cell(f"{entry['num_test']:,}"),
        Cell(percent(entry["accuracy"], f"the accuracy of class {name}")),
    ]
    return Row(name, cells)
