"""Figures of one run by name, as files for papers take them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ltood.evaluation.measures import Evaluation
from ltood.reporting.choice import choice_panel
from ltood.reporting.classes import class_panel
from ltood.reporting.compared_figures import confusion, with_intervals
from ltood.reporting.confusion import confusion_panel
from ltood.reporting.drawing import Drawing
from ltood.reporting.panels import known_panel, overview, set_panels
from ltood.reporting.training import Column, training_panel

#: Rows of the leaderboard that a figure has room for.
_MOST_ROWS = 30


def figures_of(
    evaluation: Evaluation,
    board: Mapping[str, Any] | None = None,
    history: Mapping[str, Column] | None = None,
) -> dict[str, Drawing]:
    """Figures of all OOD sets, of each of them, of the classes, and of all methods.

    Without OOD sets there are the scores of the test rows instead of the curves.

    Args:
        evaluation: Scores with their metrics.
        board: Content of leaderboard.json, where there is one.
        history: Course of the training, where there is one.
    """
    groups, found = evaluation.prior.groups(), {}
    if evaluation.comparisons:
        panels = overview(evaluation.comparisons)
        names = ("roc", "precision-recall")
        found = {name: panel.drawing for name, panel in zip(names, panels, strict=True)}
    else:
        found = {"scores": known_panel(evaluation.test, groups).drawing}
    for item in set_panels(evaluation.comparisons, groups):
        scores, own_roc, own_recalls = (panel.drawing for panel in item.panels)
        found |= {
            f"scores-{item.name}": scores,
            f"roc-{item.name}": own_roc,
            f"precision-recall-{item.name}": own_recalls,
        }
    names = ("class-accuracy", "false-alarms")
    panels = class_panel(evaluation).panels
    found |= {name: panel.drawing for name, panel in zip(names, panels, strict=False)}
    chosen = choice_panel(evaluation.scores.attributes["method"])
    if chosen is not None:
        found["choice"] = chosen.ranks.drawing
    if (confused := confusion_panel(evaluation)) is not None:
        counts = np.array([[shade.count for shade in row] for row in confused.rows])
        found["confusion"] = confusion(counts, confused.names)
    if history and (course := training_panel(history)) is not None:
        names = ("training-loss", "training-accuracy")
        found |= {name: panel.drawing for name, panel in zip(names, course.panels, strict=False)}
    if board is not None:
        found |= _leaderboard(board)
    return found


def _leaderboard(board: Mapping[str, Any]) -> dict[str, Drawing]:
    """Mean AUROC of the best methods, with intervals where there are any."""
    done = [row for row in board["rows"] if row["status"] == "ok"][:_MOST_ROWS]
    if not done:
        return {}
    rows = {}
    for row in done:
        ends = (row.get("uncertainty") or {}).get("auroc") or {}
        rows[str(row["title"])] = (row["mean"]["auroc"], ends.get("low"), ends.get("high"))
    label = "Mean AUROC of each method, best first"
    return {"leaderboard": with_intervals(rows, "mean AUROC, %", label)}
