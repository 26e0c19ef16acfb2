"""The table of all methods in the report: what differs in columns, what does not in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.core.prior import GROUPS
from ltood.metrics import METRICS
from ltood.reporting.names import joint_title, says_more, title
from ltood.reporting.tables import ABSENT, Cell, Row, bounds_of, percent, value_of

SLOTS = ("method", "calibrator", "normaliser")
#: Metrics of the table with headings that stand alone.
_SHOWN: dict[str, str] = {
    **{key: metric.name for key, metric in METRICS.items() if metric.is_main},
    "accuracy": "Accuracy",
    **{str(group): f"Accuracy, {group}" for group in GROUPS},
}
#: What entries may need beyond the rows they score, in the order of the filter.
NEEDS = {
    "train": "training rows",
    "prior": "class counts",
    "head": "classifier head",
    "val": "held-out rows",
    "aux": "auxiliary outliers",
    "local": "features of patches",
    "norm": "last batch norm",
    "aux_outputs": "detector node",
    "outlier_classes": "outlier classes",
    "negatives": "negative labels",
    "no_head": "“no” prompts",
}
_TIED = "not significantly worse than the best"


@dataclass(frozen=True)
class Heading:
    """A column.

    Attributes:
        text: Its heading.
        first: Direction of the first click on it, "ascending" or "descending".
        is_text: Whether it holds names.
    """

    text: str
    first: str
    is_text: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """The table of all methods.

    Attributes:
        headings: Columns after the first one.
        rows: One per combination that was scored, best mean AUROC first; the report's own is
            marked.
        constant: Columns omitted because all rows agree, such as "Calibrator none".
        without_result: Title and reason of each row that failed or was left out.
        best: Title and mean AUROC (a fraction) of the best row that is not transductive, if any.
        has_intervals: Whether rows have intervals and say how far behind the best they are.
        needs: What some row needs, by name, with the words for it.
    """

    headings: list[Heading]
    rows: list[Row]
    constant: list[str]
    without_result: list[tuple[str, str]]
    best: tuple[str, float] | None
    has_intervals: bool
    needs: Mapping[str, str]


def leaderboard(
    board: Mapping[str, Any], metrics: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]
) -> Leaderboard:
    """All methods, best mean AUROC first, with the report's own row.

    Args:
        board: Content of leaderboard.json.
        metrics: Metrics of the report's scores, which get a row where the board has none of
            the same entries and settings.
        chosen: `{"name", "settings"}` of the report's entries by slot.
    """
    scored = [row for row in board["rows"] if row["status"] == "ok"]
    own = next((row for row in scored if _is_chosen(row, chosen)), None)
    if own is None:
        own = {slot: chosen[slot]["name"] for slot in SLOTS} | dict(metrics)
        scored.append(own)
    scored.sort(key=lambda row: -row["mean"]["auroc"])
    has_intervals = any("uncertainty" in row for row in scored)
    needs = {need for row in scored for need in row.get("needs", ())}
    columns = _columns(scored, has_intervals=has_intervals, has_needs=bool(needs))
    # Scoring changes no prediction: most columns of accuracies, and unused slots, are constant.
    constant = [
        heading
        for heading, cells in columns.items()
        if len(scored) > 1
        and heading.text not in {"AUROC", "Behind the best"}
        and len({cell.text for cell in cells}) == 1
    ]
    kept = {heading: cells for heading, cells in columns.items() if heading not in constant}
    rows = [
        _row(row, [cells[place] for cells in kept.values()], is_marked=row is own)
        for place, row in enumerate(scored)
    ]
    plain = [row for row in scored if "stream" not in row]
    failed = [row for row in (*board["rows"], *board["left_out"]) if row["status"] != "ok"]
    return Leaderboard(
        list(kept),
        rows,
        [
            f"{heading.text} {columns[heading][0].text}"
            for heading in constant
            if columns[heading][0].text != ABSENT
        ],
        [(joint_title(row), f"{row['status']}: {row['reason']}") for row in failed],
        (joint_title(plain[0]), float(plain[0]["mean"]["auroc"])) if plain else None,
        has_intervals,
        {name: NEEDS.get(name, name) for name in [*NEEDS, *sorted(needs)] if name in needs},
    )


def _columns(
    scored: Sequence[Mapping[str, Any]], *, has_intervals: bool, has_needs: bool
) -> dict[Heading, list[Cell]]:
    """All columns after the first one, before constant ones are left out."""
    columns: dict[Heading, list[Cell]] = {}
    for key, text in _SHOWN.items():
        higher = key not in METRICS or METRICS[key].higher_is_better
        heading = Heading(text, "descending" if higher else "ascending")
        columns[heading] = [_metric(row, key) for row in scored]
        if key == "auroc" and has_intervals:
            columns[Heading("Behind the best", "ascending")] = [_behind(row) for row in scored]
    for slot in ("calibrator", "normaliser"):
        heading = Heading(slot.capitalize(), "ascending", is_text=True)
        columns[heading] = [Cell(title(slot, str(row[slot])), is_text=True) for row in scored]
    if has_needs:
        columns[Heading("Learns from", "ascending", is_text=True)] = [
            Cell(_words(row), is_text=True) for row in scored
        ]
    return columns


def _metric(row: Mapping[str, Any], key: str) -> Cell:
    value = row["mean"][key] if key in METRICS else row["id"][key]
    name = f"{key} of {_names(row)}"
    text = percent(value, name)
    if key != "auroc":
        return Cell(text, value=value_of(value))
    spread = row.get("uncertainty")
    if spread is None:
        return Cell(text, value=value_of(value))
    low, high = spread["auroc"]["low"], spread["auroc"]["high"]
    gap = spread["behind_best"]["low"]
    tied = gap is not None and gap <= 0
    return Cell(
        text,
        bounds_of(low, high, name),
        "best" if tied else "",
        value=value_of(value),
        note=_TIED if tied else "",
    )


def _behind(row: Mapping[str, Any]) -> Cell:
    """How far a row is behind the best one, with the interval of that difference."""
    spread = row.get("uncertainty")
    if spread is None:
        return Cell(ABSENT)
    gap = spread["behind_best"]
    name = f"the distance of {_names(row)} to the best row"
    bounds = bounds_of(gap["low"], gap["high"], name) if gap["mean"] else ""
    return Cell(percent(gap["mean"], name), bounds, value=value_of(gap["mean"]))


def _row(row: Mapping[str, Any], cells: list[Cell], *, is_marked: bool) -> Row:
    name = str(row["method"])
    heading = title("method", name)
    return Row(
        f"{heading} (transductive)" if "stream" in row else heading,
        cells,
        is_marked,
        name if says_more(heading, name) else "",
        tuple(row.get("needs", ())),
    )


def _words(row: Mapping[str, Any]) -> str:
    needs = row.get("needs")
    if needs is None:
        return ABSENT
    ordered = [name for name in NEEDS if name in needs]
    ordered += [name for name in needs if name not in NEEDS]
    return ", ".join(NEEDS.get(name, name) for name in ordered) or "nothing"


def _is_chosen(row: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a row has the entries and settings of the report."""
    settings: Mapping[str, Any] = row.get("settings", {})
    return all(
        row[slot] == entry["name"] and (settings.get(slot) or {}) == entry["settings"]
        for slot, entry in chosen.items()
    )


def _names(row: Mapping[str, Any]) -> str:
    names: Sequence[str] = [str(row[slot]) for slot in ("calibrator", "method", "normaliser")]
    return " + ".join(name for name in names if name != "none")
