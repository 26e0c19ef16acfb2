"""The table of all methods in the report: what differs in columns, what does not in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.core.prior import GROUPS
from ltood.metrics import METRICS
from ltood.reporting.tables import ABSENT, Cell, Row, percent

SLOTS = ("method", "calibrator", "normaliser")
#: Metrics of the table with headings that stand alone.
_SHOWN: dict[str, str] = {
    **{key: metric.name for key, metric in METRICS.items() if metric.is_main},
    "accuracy": "Accuracy",
    **{str(group): f"Accuracy, {group}" for group in GROUPS},
}


@dataclass(frozen=True)
class Leaderboard:
    """The table of all methods.

    Attributes:
        corner: Heading of the first column.
        headings: Headings of the other columns.
        rows: One per combination that was scored, best mean AUROC first; the report's own is
            marked.
        constant: Columns omitted because all rows agree, such as "Calibrator none".
        without_result: Title and reason of each row that failed or was left out.
        best: Names and mean AUROC (a fraction) of the best row that is not transductive, if any.
    """

    corner: str
    headings: list[str]
    rows: list[Row]
    constant: list[str]
    without_result: list[tuple[str, str]]
    best: tuple[str, float] | None


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
    texts = {slot.capitalize(): [str(row[slot]) for row in scored] for slot in SLOTS}
    texts |= {
        heading: [percent(_value(row, key), f"{key} of {_title(row)}") for row in scored]
        for key, heading in _SHOWN.items()
    }
    # Scoring changes no prediction: most columns of accuracies, and unused slots, are constant.
    constant = [
        heading
        for heading, column in texts.items()
        if len(scored) > 1 and heading not in {"Method", "AUROC"} and len(set(column)) == 1
    ]
    kept = [heading for heading in texts if heading not in {"Method", *constant}]
    is_name = {slot.capitalize() for slot in SLOTS}
    rows = [
        Row(
            f"{row['method']} (transductive)" if "stream" in row else str(row["method"]),
            [Cell(texts[heading][place], is_text=heading in is_name) for heading in kept],
            is_marked=row is own,
        )
        for place, row in enumerate(scored)
    ]
    plain = [row for row in scored if "stream" not in row]
    failed = [row for row in (*board["rows"], *board["left_out"]) if row["status"] != "ok"]
    return Leaderboard(
        "Method",
        kept,
        rows,
        [f"{heading} {texts[heading][0]}" for heading in constant if texts[heading][0] != ABSENT],
        [(str(row["title"]), f"{row['status']}: {row['reason']}") for row in failed],
        (_title(plain[0]), float(plain[0]["mean"]["auroc"])) if plain else None,
    )


def _is_chosen(row: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a row has the entries and settings of the report."""
    settings: Mapping[str, Any] = row.get("settings", {})
    return all(
        row[slot] == entry["name"] and (settings.get(slot) or {}) == entry["settings"]
        for slot, entry in chosen.items()
    )


def _value(row: Mapping[str, Any], key: str) -> object:
    return row["mean"][key] if key in METRICS else row["id"][key]


def _title(row: Mapping[str, Any]) -> str:
    names: Sequence[str] = [str(row[slot]) for slot in ("calibrator", "method", "normaliser")]
    return " + ".join(name for name in names if name != "none")
