"""Tables and tiles of the report: fractions in, percent with two decimals out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.core.errors import DataError
from ltood.core.prior import GROUPS
from ltood.metrics import METRICS
from ltood.reporting.wording import COUNTS, TILES

ABSENT = "–"  # noqa: RUF001 - an en dash is what a table shows for "no value"
#: Metrics that the table of all methods shows, with headings that stand alone.
_COMPARED: dict[str, str] = {
    **{key: metric.name for key, metric in METRICS.items() if metric.is_main},
    "accuracy": "Accuracy",
    **{str(group): f"Accuracy, {group}" for group in GROUPS},
}
_METRICS = {*METRICS, *_COMPARED, *(count.key for count in COUNTS)}


@dataclass(frozen=True)
class Cell:
    """One value as the reader sees it.

    Attributes:
        text: The number, or a dash where there is none.
        interval: Confidence interval such as "[91.20, 92.05]", or empty.
        rank: "best", "worst" or empty, within the column.
        is_text: Whether it is a name (set flush left) and no number.
    """

    text: str
    interval: str = ""
    rank: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: heading, cells, and whether it stands out."""

    heading: str
    cells: list[Cell]
    is_marked: bool = False


@dataclass(frozen=True)
class Tile:
    """A headline figure: title, value, and one line on how to read it."""

    title: str
    cell: Cell
    words: str


@dataclass(frozen=True)
class Leaderboard:
    """The table of all methods: column headings and rows, best AUROC first."""

    corner: str
    headings: list[str]
    rows: list[Row]


def percent(value: object, name: str) -> str:
    """Write a fraction as percent with two decimals; None becomes a dash.

    Args:
        value: A fraction or None.
        name: What it is, for the message.

    Raises:
        DataError: If it is no finite number.
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


def _interval(intervals: Mapping[str, Any] | None, key: str, name: str) -> str:
    bounds = (intervals or {}).get(key)
    if bounds is None:
        return ""
    if not isinstance(bounds, Mapping) or not {"low", "high"} <= set(bounds):
        raise DataError(
            f"the interval of {name} is {bounds!r}; it must hold low and high. Pass what "
            "evaluation.bootstrap gives."
        )
    low, high = (
        percent(bounds[end], f"{end} of the interval of {name}") for end in ("low", "high")
    )
    return f"[{low}, {high}]"


def tiles(metrics: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> list[Tile]:
    """Headline figures: means over the OOD sets, then the accuracies.

    Raises:
        DataError: If a value is no finite number.
    """
    mean, id_side = metrics["mean"], metrics["id"]
    spread = (intervals or {}).get("mean")
    made = []
    for key, title, words in TILES:
        cell = Cell(percent(mean[key], f"mean {key}"), _interval(spread, key, f"mean {key}"))
        arrow = "higher is better" if METRICS[key].higher_is_better else "lower is better"
        made.append(Tile(title, cell, f"{words}; {arrow}"))
    accuracy = Cell(percent(id_side["accuracy"], "the accuracy"))
    made.append(Tile("Accuracy", accuracy, "ID test images given their class"))
    for group, words in zip(GROUPS, ("frequent", "middle", "rare"), strict=True):
        cell = Cell(percent(id_side[group], f"the accuracy of group {group}"))
        made.append(Tile(f"Accuracy, {group}", cell, f"mean over the {words} classes"))
    return made


def set_rows(metrics: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> list[Row]:
    """One row per OOD set with all columns, then their mean.

    Raises:
        DataError: If a value is no finite number.
    """
    sets: Mapping[str, Mapping[str, Any]] = metrics["ood"]
    ranks = {key: _ranks(sets, key) for key in METRICS}
    rows = []
    for name, values in [*sets.items(), ("mean", metrics["mean"])]:
        is_mean = values is metrics["mean"]
        spread = (intervals or {}).get("mean") if is_mean else _of_set(intervals, name)
        cells = []
        for key in METRICS:
            what = f"{key} of {name}"
            rank = "" if is_mean else ranks[key].get(name, "")
            cells.append(Cell(percent(values[key], what), _interval(spread, key, what), rank))
        for column in COUNTS:
            count = values[column.key]
            what = f"{column.key} of {name}"
            cells.append(Cell(ABSENT if count is None else f"{_number(count, what):,.0f}"))
        rows.append(Row("Mean" if is_mean else name, cells, is_mean))
    return rows


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


def leaderboard(rows: Sequence[Mapping[str, Any]], current: Mapping[str, str]) -> Leaderboard:
    """All methods, best mean AUROC first.

    Args:
        rows: One dict per combination: names such as "method" and "calibrator", and
            metrics in fractions, flat or below "mean" and "id" as in metrics.json.
        current: Names of this report's slots; the row that equals them is marked.

    Returns:
        The table; columns are the names and the main metrics that any row has.

    Raises:
        DataError: If a metric is no finite number or no row has a name.
    """
    flat = [
        {
            **{key: value for key, value in row.items() if key not in {"id", "mean", "ood"}},
            **row.get("id", {}),
            **row.get("mean", {}),
        }
        for row in rows
    ]
    seen = list(dict.fromkeys(key for row in flat for key in row))
    names = [key for key in seen if key not in _METRICS and _is_plain(key, flat)]
    figures = [key for key in _COMPARED if key in seen]
    flat.sort(key=lambda row: -_number(row.get("auroc") or 0.0, "auroc of a leaderboard row"))
    if not names:
        raise DataError(
            "the leaderboard rows hold no names; each row needs at least its method beside the "
            "metrics."
        )
    headings = [*map(_heading, names), *(_COMPARED[key] for key in figures)]
    table = []
    for row in flat:
        texts = [Cell(_plain(row.get(key)), is_text=True) for key in names]
        numbers = [Cell(percent(row.get(key), f"{key} of a leaderboard row")) for key in figures]
        is_current = "method" in row and all(
            row.get(slot, name) == name for slot, name in current.items()
        )
        table.append(Row(texts[0].text, [*texts[1:], *numbers], is_current))
    return Leaderboard(headings[0], headings[1:], table)


def _is_plain(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return not any(isinstance(row.get(key), Mapping | list) for row in rows)


def _plain(value: object) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _heading(key: str) -> str:
    return key.replace("_", " ").capitalize()
