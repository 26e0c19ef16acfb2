"""Figures of one report: curves and histograms per OOD set, and the class groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.prior import GROUPS
from ltood.evaluation.comparison import Comparison
from ltood.metrics import curves
from ltood.reporting import figures
from ltood.reporting.drawing import Drawing
from ltood.reporting.tables import percent
from ltood.store.scores import ScoreSplit

Values = NDArray[np.floating[Any]]
#: Enough for a figure of this size; a report of ten sets stays far below a megabyte.
_POINTS = 240
_SUMMARY = ("auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out", "ap_in")


@dataclass(frozen=True)
class Panel:
    """A figure with the sentence printed below it."""

    drawing: Drawing
    caption: str

    @property
    def svg(self) -> str:
        """An `<svg>` element."""
        return self.drawing.svg


@dataclass(frozen=True)
class SetPanel:
    """Panel of one OOD set: headline and three figures."""

    name: str
    summary: str
    panels: list[Panel]


def overview(comparisons: Sequence[Comparison]) -> list[Panel]:
    """ROC and precision-recall curves of all OOD sets in one figure each."""
    names = ", ".join(item.name for item in comparisons)
    roc = figures.overlay(
        {item.name: _roc(item) for item in comparisons},
        ("ID flagged, %", "OOD caught, %"),
        f"ROC curves of {names}",
    )
    recalls = figures.overlay(
        {item.name: _precision_recall(item, "ood") for item in comparisons},
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


def set_panels(comparisons: Sequence[Comparison], groups: NDArray[np.str_]) -> list[SetPanel]:
    """Histogram, ROC and precision-recall of each OOD set.

    Args:
        comparisons: The test rows against each OOD set.
        groups: Group of each class, [C].
    """
    parts = [_by_group(item.id_scores, item.id_labels, groups) for item in comparisons]
    if not comparisons:
        return []
    # One call for all sets: their bins are shared, so the histograms can be compared.
    bins, shares = curves.histograms(
        [
            scores
            for item, part in zip(comparisons, parts, strict=True)
            for scores in (*part.values(), item.ood.scores)
        ]
    )
    remaining = iter(shares)
    made = []
    for item, part in zip(comparisons, parts, strict=True):
        id_shares = {
            name: next(remaining) * len(scores) / len(item.id_scores)
            for name, scores in part.items()
        }
        histogram = figures.histogram(
            id_shares,
            next(remaining),
            bins,
            {
                "ood": float(np.quantile(item.ood.scores, 0.05)),
                "id": float(np.quantile(item.id_scores, 0.95)),
            },
            f"Histogram of OOD scores: ID images by class group against {item.name}",
        )
        caption = "Scores. All sets share the bins; the end bins hold what lies outside."
        made.append(_set_panel(item, Panel(histogram, caption)))
    return made


def known_panel(
    test: ScoreSplit, groups: NDArray[np.str_], threshold: float | None = None
) -> Panel:
    """Histogram of the ID test images by themselves, where there is no OOD set.

    Args:
        test: Scores of the test rows.
        groups: Group of each class, [C].
        threshold: That of the detector; None draws none.
    """
    parts = _by_group(test.scores, test.labels, groups)
    bins, shares = curves.histograms([*parts.values()])
    id_shares = {
        name: share * len(scores) / len(test.scores)
        for (name, scores), share in zip(parts.items(), shares, strict=True)
    }
    marks = {} if threshold is None else {"detector": threshold}
    label = "Histogram of OOD scores of ID test images by class group"
    drawing = figures.histogram(id_shares, None, bins, marks, label)
    return Panel(drawing, "Scores of ID test images. The end bins hold what lies outside.")


def _set_panel(item: Comparison, histogram: Panel) -> SetPanel:
    values, ranking = item.metrics, item.ranking
    shown = {key: percent(values[key], f"{key} of {item.name}") for key in _SUMMARY}
    roc = figures.roc(
        _roc(item),
        {"ood": (values["fpr95_ood_pos"], 0.95), "id": (0.05, 1 - values["fpr95_id_pos"])},
        f"ROC curve of {item.name}, area {shown['auroc']} percent",
    )
    recalls = figures.precision_recall(
        _precision_recall(item, "ood"),
        _precision_recall(item, "id"),
        ranking.num_ood / (ranking.num_ood + ranking.num_id),
        f"Precision-recall curves of {item.name}: average precision {shown['ap_out']} percent "
        f"with OOD positive, {shown['ap_in']} percent with ID positive",
    )
    summary = (
        f"AUROC {shown['auroc']} · FPR95 {shown['fpr95_ood_pos']} (OOD positive), "
        f"{shown['fpr95_id_pos']} (ID positive) · AP {shown['ap_out']} (OOD positive), "
        f"{shown['ap_in']} (ID positive)"
    )
    return SetPanel(
        item.name,
        summary,
        [
            histogram,
            Panel(roc, "ROC. The two marks are the two readings of FPR95."),
            Panel(recalls, "Precision-recall. Dotted: what flagging at random gives."),
        ],
    )


def _roc(item: Comparison) -> curves.Curve:
    return curves.roc(item.ranking, positive="ood", max_points=_POINTS)


def _precision_recall(item: Comparison, positive: Literal["ood", "id"]) -> curves.Curve:
    return curves.precision_recall(item.ranking, positive=positive, max_points=_POINTS)


def _by_group(
    scores: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.str_]
) -> dict[str, Values]:
    """ID scores by class group; all under "id" where the classes are not divided."""
    member = groups[labels]
    parts: dict[str, Values] = {name: scores[member == name] for name in GROUPS}
    filled = {name: part for name, part in parts.items() if len(part)}
    return filled if len(filled) > 1 else {"id": scores}
