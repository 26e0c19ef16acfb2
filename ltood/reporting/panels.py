"""Figures of one report: curves and histograms per OOD set, and the class groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.metrics import curves, ood_rows, rank
from ltood.reporting import figures
from ltood.reporting.tables import percent

if TYPE_CHECKING:
    from ltood.store.scores import ScoreStore

Values = NDArray[np.floating[Any]]
#: Enough for a figure of this size; a report of ten sets stays far below a megabyte.
_POINTS = 240


@dataclass(frozen=True)
class Panel:
    """An `<svg>` element with the sentence printed below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class SetPanel:
    """What is shown of one OOD set: headline and three figures."""

    name: str
    summary: str
    panels: list[Panel]


@dataclass(frozen=True)
class Sides:
    """Scores of one comparison, ID against one OOD set.

    Attributes:
        name: OOD set.
        id_scores: Test scores, then those of relabelled rows of the OOD set, [N].
        id_labels: Their classes, [N].
        ood_scores: Scores of the OOD rows, [M].
    """

    name: str
    id_scores: Values
    id_labels: NDArray[np.int64]
    ood_scores: Values


def read_sides(store: "ScoreStore", sets: Sequence[str]) -> list[Sides]:
    """Read the test scores against each OOD set; rows with a class count as ID."""
    test = store.split("test")
    sides = []
    for name in sets:
        split_name = f"ood_{name}"
        split = store.split(split_name)
        is_ood = ood_rows(split.labels, split_name)
        id_scores = np.concatenate([test.scores, split.scores[~is_ood]])
        id_labels = np.concatenate([test.labels, split.labels[~is_ood]])
        sides.append(Sides(name, id_scores, id_labels, split.scores[is_ood]))
    return sides


def overview(sides: Sequence[Sides]) -> list[Panel]:
    """ROC and precision-recall curves of all OOD sets in one figure each."""
    names = ", ".join(side.name for side in sides)
    both = {
        side.name: curves.curves(
            side.id_scores, side.ood_scores, positive="ood", max_points=_POINTS
        )
        for side in sides
    }
    roc = figures.overlay(
        {name: pair[0] for name, pair in both.items()},
        ("ID flagged, %", "OOD caught, %"),
        f"ROC curves of {names}",
    )
    recalls = figures.overlay(
        {name: pair[1] for name, pair in both.items()},
        ("recall: OOD caught, %", "precision: alarms that are OOD, %"),
        f"Precision-recall curves with OOD positive of {names}",
    )
    return [
        Panel(roc, "ROC. The closer to the upper left corner, the better."),
        Panel(
            recalls,
            "Precision-recall, OOD positive. The closer to the upper right corner, the better; "
            "the level depends on the share of OOD images.",
        ),
    ]


def set_panels(
    sides: Sequence[Sides], metrics: Mapping[str, Any], groups: NDArray[np.str_]
) -> list[SetPanel]:
    """Histogram, ROC and precision-recall of each OOD set.

    Args:
        sides: Scores per OOD set.
        metrics: Metrics in fractions, by set.
        groups: Group of each class, [C].
    """
    parts = [_by_group(side, groups) for side in sides]
    # One call for all sets: their bins are shared, so the histograms can be compared.
    bins, shares = curves.histograms(
        [
            scores
            for side, part in zip(sides, parts, strict=True)
            for scores in (*part.values(), side.ood_scores)
        ]
    )
    remaining = iter(shares)
    made = []
    for side, part in zip(sides, parts, strict=True):
        id_shares = {
            name: next(remaining) * len(scores) / len(side.id_scores)
            for name, scores in part.items()
        }
        histogram = figures.histogram(
            id_shares,
            next(remaining),
            bins,
            {
                "ood": float(np.quantile(side.ood_scores, 0.05)),
                "id": float(np.quantile(side.id_scores, 0.95)),
            },
            f"Histogram of OOD scores: ID images by class group against {side.name}",
        )
        caption = "Scores. All sets share the bins; the end bins hold what lies outside."
        made.append(_set_panel(side, metrics["ood"][side.name], Panel(histogram, caption)))
    return made


def _set_panel(side: Sides, values: Mapping[str, Any], histogram: Panel) -> SetPanel:
    keys = ("auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in")
    shown = {key: percent(values[key], f"{key} of {side.name}") for key in keys}
    ranking = rank(side.id_scores, side.ood_scores)
    roc = figures.roc(
        curves.roc(ranking, positive="ood", max_points=_POINTS),
        {"ood": (values["fpr95_ood_pos"], 0.95), "id": (0.05, 1 - values["fpr95_id_pos"])},
        f"ROC curve of {side.name}, area {shown['auroc']} percent",
    )
    recalls = figures.precision_recall(
        curves.precision_recall(ranking, positive="ood", max_points=_POINTS),
        curves.precision_recall(ranking, positive="id", max_points=_POINTS),
        ranking.num_ood / (ranking.num_ood + ranking.num_id),
        f"Precision-recall curves of {side.name}: average precision {shown['ap_out']} percent "
        f"with OOD positive, {shown['ap_in']} percent with ID positive",
    )
    summary = (
        f"AUROC {shown['auroc']} · FPR95 {shown['fpr95_ood_pos']} (OOD positive), "
        f"{shown['fpr95_id_pos']} (ID positive) · AP {shown['ap_out']} (OOD positive), "
        f"{shown['ap_in']} (ID positive)"
    )
    return SetPanel(
        side.name,
        summary,
        [
            histogram,
            Panel(roc, "ROC. The two marks are the two readings of FPR95."),
            Panel(recalls, "Precision-recall. Dotted: what flagging at random gives."),
        ],
    )


def _by_group(side: Sides, groups: NDArray[np.str_]) -> dict[str, Values]:
    """ID scores by class group; all under "id" where the classes are not divided."""
    member = groups[side.id_labels]
    parts: dict[str, Values] = {name: side.id_scores[member == name] for name in GROUPS}
    filled = {name: part for name, part in parts.items() if len(part)}
    return filled if len(filled) > 1 else {"id": side.id_scores}
