"""Tables and tiles of the report: fractions in, percent with two decimals out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltood.core.errors import DataError
from ltood.core.prior import GROUPS
from ltood.evaluation.tables import means_below
from ltood.metrics import JUDGED, METRICS, Metric
from ltood.reporting.wording import ACCURACY_TILES, COUNTS, RELABELLED, TILES, Count

ABSENT = "–"  # noqa: RUF001 - an en dash is what a table shows for "no value"

#: Accuracies of ID rows: of all, and by the size of their class in training.
ACCURACIES = ("accuracy", *GROUPS)


@dataclass(frozen=True)
class Cell:
    """One value as the reader sees it.

    Attributes:
        text: The number, or a dash where there is none.
        interval: Confidence interval such as "[91.20, 92.05]", deviation over the orders of a
            stream such as "± 0.31", or empty.
        rank: "best", "worst" or empty, within the column.
        is_text: Whether it is a name (set flush left) and not a number.
        value: The number that a column is sorted by, where it can be sorted; else empty.
        note: What a mark of the cell means, for those who do not see it.
    """

    text: str
    interval: str = ""
    rank: str = ""
    is_text: bool = False
    value: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        heading: What it is about.
        cells: Its values.
        is_marked: Whether it stands out.
        name: What to write for it in settings, where that is not plain from the heading.
        needs: What it needs, by name, where rows can be filtered by that.
    """

    heading: str
    cells: list[Cell]
    is_marked: bool = False
    name: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tile:
    """A headline figure: title, value, and one line on how to read it."""

    title: str
    cell: Cell
    words: str


def percent(value: object, name: str) -> str:
    """Write a fraction as percent with two decimals; None becomes a dash.

    Args:
        value: A fraction or None.
        name: What it is, for the message.

    Raises:
        DataError: If it is not a finite number.
    """
    if value is None:
        return ABSENT
    return f"{100 * _number(value, name):.2f}"


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(
            f"{name} is {value!r}; the report shows finite numbers, or null for an empty group. "
            "Run the evaluate stage again."
        )
    return float(value)


def value_of(fraction: object) -> str:
    """What a column of percent is sorted by."""
    return "" if fraction is None else repr(fraction)


def bounds_of(low: float | None, high: float | None, name: str) -> str:
    """An interval in percent such as "[91.20, 92.05]"; empty where there is none."""
    if low is None or high is None:
        return ""
    ends = (percent(end, f"an end of the interval of {name}") for end in (low, high))
    return f"[{', '.join(ends)}]"


def _interval(intervals: Mapping[str, Any] | None, key: str, name: str) -> str:
    bounds = (intervals or {}).get(key)
    if bounds is None:
        return ""
    if "low" not in bounds:
        return f"± {percent(bounds['std'], f'the deviation of {name}')}"
    return bounds_of(bounds["low"], bounds["high"], name)


def tiles(metrics: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> list[Tile]:
    """Headline figures: means over the OOD sets if there are any, then the accuracies there are.

    Raises:
        DataError: If a value is not a finite number.
    """
    spread = intervals or {}
    made = []
    for key, title, words in TILES if "mean" in metrics else ():
        what = f"mean {key}"
        cell = Cell(percent(metrics["mean"][key], what), _interval(spread.get("mean"), key, what))
        arrow = "higher is better" if METRICS[key].higher_is_better else "lower is better"
        made.append(Tile(title, cell, f"{words}; {arrow}"))
    for key, title, words in ACCURACY_TILES:
        if metrics["id"][key] is None:
            continue  # No test image is of such a class.
        what = f"the accuracy ({key})"
        cell = Cell(percent(metrics["id"][key], what), _interval(spread.get("id"), key, what))
        made.append(Tile(title, cell, words))
    return made


def set_columns(metrics: Mapping[str, Any]) -> list[Metric | Count]:
    """Columns of the table per OOD set; relabelled images where a set has any."""
    if "ood" not in metrics:
        return []
    some = any(values[RELABELLED] for values in metrics["ood"].values())
    return [*METRICS.values(), *(count for count in COUNTS if some or count.key != RELABELLED)]


def set_rows(metrics: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> list[Row]:
    """One row per OOD set with the columns of `set_columns`, then the means.

    Raises:
        DataError: If a value is not a finite number.
    """
    sets: Mapping[str, Mapping[str, Any]] = metrics.get("ood", {})
    ranks = {key: _ranks(sets, key) for key in METRICS}
    rows = []
    for name, values in means_below(metrics).items():
        is_mean = values is metrics["mean"]
        of_set = intervals if values is sets.get(name) else None
        spread = (intervals or {}).get("mean") if is_mean else _of_set(of_set, name)
        cells = []
        for key in (column.key for column in set_columns(metrics)):
            value, what = values[key], f"{key} of {name}"
            if key in METRICS:
                rank = ranks[key].get(name, "") if values is sets.get(name) else ""
                cells.append(Cell(percent(value, what), _interval(spread, key, what), rank))
            else:
                # The mean of a number of images says nothing.
                is_shown = value is not None and values is sets.get(name)
                cells.append(Cell(f"{_number(value, what):,.0f}" if is_shown else ABSENT))
        rows.append(_row(name, values, metrics, cells))
    return rows


def judged_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """The same rows with the metrics that judge the predicted classes, too.

    Raises:
        DataError: If a value is not a finite number.
    """
    return [
        _row(
            name,
            values,
            metrics,
            [Cell(percent(values[key], f"{key} of {name}")) for key in JUDGED],
        )
        for name, values in means_below(metrics).items()
    ]


def shifted_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Accuracy of the test rows and of each set under covariate shift; empty without such sets.

    Raises:
        DataError: If a value is not a finite number.
    """
    shifted: Mapping[str, Mapping[str, Any]] = metrics.get("csid", {})
    if not shifted:
        return []
    return [
        Row(name, [Cell(percent(values[key], f"{key} of {name}")) for key in ACCURACIES])
        for name, values in {"test": metrics["id"], **shifted}.items()
    ]


def _row(
    name: str, values: Mapping[str, Any], metrics: Mapping[str, Any], cells: list[Cell]
) -> Row:
    """A set's row, or that of a mean, which stands out."""
    is_set = values is metrics["ood"].get(name)
    return Row(name if is_set else name[0].upper() + name[1:], cells, not is_set)


def _of_set(intervals: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (intervals or {}).get("ood", {}).get(name)
    return found


def _ranks(sets: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, str]:
    """Best and worst set of a column; none where fewer than three sets compare."""
    values = {name: row[key] for name, row in sets.items() if row[key] is not None}
    if len(values) < 3 or min(values.values()) == max(values.values()):
        return {}
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        {high: "best", low: "worst"}
        if METRICS[key].higher_is_better
        else {low: "best", high: "worst"}
    )
