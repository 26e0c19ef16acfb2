"""The tables of the report of one run, as values for files."""

from collections.abc import Mapping, Sequence
from typing import Any

from ltood.core.prior import GROUPS
from ltood.evaluation.measures import Evaluation
from ltood.evaluation.tables import means_below
from ltood.metrics import JUDGED, METRICS
from ltood.reporting.sheets import Column, Sheet, Value
from ltood.reporting.tables import ACCURACIES
from ltood.reporting.wording import COUNTS

_SLOTS = ("calibrator", "method", "normaliser")
_MAIN = [key for key, metric in METRICS.items() if metric.is_main]


def sheets_of(
    evaluation: Evaluation,
    intervals: Mapping[str, Any] | None = None,
    board: Mapping[str, Any] | None = None,
) -> list[Sheet]:
    """Tables by OOD set, by class and class group, and of all methods.

    Without OOD sets only accuracies can be shown.

    Args:
        evaluation: Scores with their metrics.
        intervals: What `uncertainty` gives for them.
        board: Content of leaderboard.json, where there is one.
    """
    metrics, breakdown = evaluation.metrics, evaluation.breakdown
    accuracies = _accuracies(metrics, intervals or {})
    classes = _classes(breakdown["classes"])
    if "ood" not in metrics:
        return [accuracies, classes]
    found = [
        _sets(metrics, intervals or {}),
        _judged(metrics),
        accuracies,
        _alarms(breakdown["false_alarms"]),
        _missed(breakdown["missed_ood"]),
        classes,
    ]
    return found if board is None else [*found, _methods(board)]


def _sets(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> Sheet:
    columns = [Column(key, metric.name) for key, metric in METRICS.items()]
    columns += [Column(count.key, count.name, "count") for count in COUNTS]
    rows = []
    for name, values in means_below(metrics).items():
        spread = intervals.get("ood", {}).get(name, {})
        if values is metrics["mean"]:
            spread = intervals.get("mean", {})
        cells = [_with(values[key], spread.get(key)) for key in METRICS]
        # The mean of a number of images says nothing.
        counts = values if values is metrics["ood"].get(name) else {}
        rows.append((name, [*cells, *(Value(counts.get(count.key)) for count in COUNTS)]))
    return Sheet("ood_sets", "Results per OOD set", "OOD set", columns, rows)


def _judged(metrics: Mapping[str, Any]) -> Sheet:
    columns = [Column(key, metric.name) for key, metric in JUDGED.items()]
    rows = [
        (name, [Value(values[key]) for key in JUDGED])
        for name, values in means_below(metrics).items()
    ]
    return Sheet("with_classifier", "Detector and classifier together", "OOD set", columns, rows)


def _accuracies(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> Sheet:
    columns = [Column(key, "Accuracy" if key == "accuracy" else key) for key in ACCURACIES]
    spread = intervals.get("id", {})
    rows = [("test", [_with(metrics["id"][key], spread.get(key)) for key in ACCURACIES])]
    rows += [
        (name, [Value(values[key]) for key in ACCURACIES])
        for name, values in metrics.get("csid", {}).items()
    ]
    return Sheet("accuracy", "Accuracy of ID images", "Images", columns, rows)


def _alarms(found: Mapping[str, Mapping[str, Any]]) -> Sheet:
    keys = ("all", *(str(group) for group in GROUPS))
    rows = [(name, [Value(values[key]) for key in keys]) for name, values in found.items()]
    title = "False alarms: ID images flagged while 95 % of OOD are caught"
    return Sheet("false_alarms", title, "OOD set", [Column(key, key) for key in keys], rows)


def _missed(found: Mapping[str, Mapping[str, Any]]) -> Sheet:
    keys = [str(group) for group in GROUPS]
    columns = [Column("num_missed", "Missed", "count"), *(Column(key, key) for key in keys)]
    rows = [
        (name, [Value(values["num_missed"]), *(Value(values[key]) for key in keys)])
        for name, values in found.items()
    ]
    title = "Missed OOD images: the group of the class they are taken for"
    return Sheet("missed_ood", title, "OOD set", columns, rows)


def _classes(classes: Sequence[Mapping[str, Any]]) -> Sheet:
    columns = [
        Column("group", "Group", "text"),
        Column("num_train", "Training images", "count"),
        Column("num_test", "Test images", "count"),
        Column("accuracy", "Accuracy"),
    ]
    rows = [(row["name"], [Value(row[column.key]) for column in columns]) for row in classes]
    return Sheet("classes", "Accuracy of every class", "Class", columns, rows)


def _methods(board: Mapping[str, Any]) -> Sheet:
    done = [row for row in board["rows"] if row["status"] == "ok"]
    columns = [Column(slot, slot.capitalize(), "text") for slot in _SLOTS]
    columns += [Column(key, f"Mean {METRICS[key].name}") for key in _MAIN]
    columns += [Column(key, "Accuracy" if key == "accuracy" else key) for key in ACCURACIES]
    sets = list(done[0]["ood"]) if done else []
    columns += [Column(f"auroc/{name}", f"AUROC, {name}") for name in sets]
    rows = []
    for row in done:
        spread = row.get("uncertainty") or {}
        cells = [Value(str(row[slot])) for slot in _SLOTS]
        cells += [_with(row["mean"][key], spread.get(key)) for key in _MAIN]
        cells += [Value(row["id"].get(key)) for key in ACCURACIES]
        cells += [Value(row["ood"][name]["auroc"]) for name in sets]
        rows.append((str(row["title"]), cells))
    return Sheet("methods", "All methods", "Title", columns, rows)


def _with(value: float | None, bounds: Mapping[str, float] | None) -> Value:
    """A value with its interval, or with its deviation over orders."""
    if not bounds:
        return Value(value)
    if "low" in bounds:
        return Value(value, bounds["low"], bounds["high"])
    return Value(value, std=bounds.get("std"))
