"""The leaderboard as files and as a table for the terminal.

`leaderboard.json`, `leaderboard.csv` and `leaderboard.md` hold fractions (percent in the
Markdown) and are the same on every run; seconds stand apart, in `timings.csv`.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltood.core.errors import LtoodError, StoreError
from ltood.core.prior import GROUPS
from ltood.evaluation.tables import aligned, markdown, percent, stream_note, with_spread
from ltood.metrics import columns_of
from ltood.runtime.files import replace_together, to_json_bytes

NAMES = ("title", "calibrator", "method", "normaliser")


def refuse_store(folder: Path) -> None:
    """Refuse to write among the files of a Zarr store.

    Raises:
        StoreError: If `folder` is one.
    """
    if (folder / "zarr.json").exists():
        raise StoreError(f"{folder} is a Zarr store; choose another folder for the leaderboard.")


def write_leaderboard(
    folder: Path | str,
    board: Mapping[str, Any],
    timings: Sequence[Mapping[str, Any]],
    columns: str = "pascl",
) -> None:
    """Write leaderboard.json, .csv and .md and timings.csv into `folder`.

    Args:
        folder: Made if it is missing; older files of these names are replaced.
        board: Leaderboard that `running.compare` gives.
        timings: Seconds that `running.compare` gives.
        columns: Columns of the Markdown table; see `metrics.COLUMNS`.

    Raises:
        StoreError: If `folder` is a Zarr store.
        UnknownNameError: If there are no such columns.
    """
    folder = Path(folder)
    refuse_store(folder)
    page = markdown_table(board, columns)
    replace_together(
        {
            folder / "leaderboard.csv": board_csv(board),
            folder / "leaderboard.md": page.encode(),
            folder / "timings.csv": _csv(timings),
            folder / "leaderboard.json": to_json_bytes(board),
        }
    )


def check_any(board: Mapping[str, Any]) -> None:
    """Refuse a leaderboard without a single result.

    Raises:
        LtoodError: If every row failed or was left out, with the first reason.
    """
    if not board["auroc"]:
        first = [*board["rows"], *board["left_out"]][0]
        raise LtoodError(
            f"no combination has a result; of the first, {first['title']}: {first['reason']}"
        )


def markdown_table(board: Mapping[str, Any], columns: str = "pascl") -> str:
    """The leaderboard as a Markdown page, in percent.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    parts = [markdown(table_cells(board, columns))] if board["rows"] else []
    notes = "".join(f"- {note}\n" for note in table_notes(board, columns))
    return "\n\n".join(["# Leaderboard", *parts, notes])


def text_table(
    board: Mapping[str, Any], timings: Sequence[Mapping[str, Any]], columns: str = "pascl"
) -> str:
    """The leaderboard aligned for a terminal, in percent, with seconds.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    spent = {line["title"]: line for line in timings}
    heading, *rows = table_cells(board, columns)
    table = [[*heading, "fit s", "score s"]]
    for row, full in zip(rows, board["rows"], strict=True):
        line = spent.get(full["title"])
        steps = ("fit", "score")
        seconds = (
            [f"{line[f'{step}_seconds'] + line[f'{step}_shared_seconds']:.2f}" for step in steps]
            if line
            else ["", ""]
        )
        table.append([*row, *seconds])
    lines = [line.rstrip() for line in aligned(table)]
    return "\n".join([*lines, *table_notes(board, columns)])


def table_cells(board: Mapping[str, Any], columns: str) -> list[list[str]]:
    """Heading and rows: means by `columns`, AUROC by group and set, false alarms by class."""
    shown = columns_of(columns)
    done = [row for row in board["rows"] if row["status"] == "ok"]
    sets = list(done[0]["ood"]) if done else []
    groups = list(done[0].get("groups", {})) if done else []
    titles = [f"mean {title}" for title, _ in shown]
    heading = [
        "",
        *titles,
        *(f"mean {group}" for group in groups),
        *sets,
        *(f"FA {group}" for group in GROUPS),
    ]
    table = [heading]
    for row in board["rows"]:
        if row["status"] != "ok":
            table.append([row["title"], "failed", *[""] * (len(heading) - 2)])
            continue
        values = _values(row, shown, groups, sets)
        if "stream" not in row:
            table.append([row["title"], *map(percent, values)])
            continue
        spread = _values(row["stream"]["std"], shown, groups, sets)
        table.append([f"{row['title']} (transductive)", *map(with_spread, values, spread)])
    return table


def _values(
    row: Mapping[str, Any],
    shown: Sequence[tuple[str, str]],
    groups: Sequence[str],
    sets: Sequence[str],
) -> list[float | None]:
    """Values of one row in the order of the columns."""
    values = [row["mean"][key] for _, key in shown]
    values += [row["groups"][name]["auroc"] for name in groups]
    values += [row["ood"][name]["auroc"] for name in sets]
    return values + [row["mean"]["false_alarms"][group] for group in GROUPS]


def table_notes(board: Mapping[str, Any], columns: str) -> list[str]:
    """Notes on the columns, the ID accuracy by calibrator, and missing rows with reasons."""
    if not (board["rows"] or board["left_out"]):
        return [board.get("note", "nothing is compared")]
    meaning = ", ".join(f"{title} is {key}" for title, key in columns_of(columns))
    notes = [
        f"percent; {meaning}; the columns of single OOD sets and of groups are AUROC",
        "FA: ID rows flagged at the threshold of fpr95_ood_pos, by size of their class, mean "
        "over the OOD sets",
    ]
    for row in {row["calibrator"]: row for row in board["rows"] if "id" in row}.values():
        id_metrics = ", ".join(f"{key} {percent(value)}" for key, value in row["id"].items())
        notes.append(f"ID with calibrator {row['calibrator']}: {id_metrics}")
    streams = (row for row in board["rows"] if "stream" in row)
    notes += [f"{row['title']}: {stream_note(row['stream'])}" for row in streams]
    for kind in ("failed", "left out"):
        # Many methods share a reason, which may name the method: it is said for the first.
        reasons: dict[str, tuple[str, list[str]]] = {}
        for row in (*board["rows"], *board["left_out"]):
            if row["status"] == kind:
                key = re.sub(rf"\bmethod {re.escape(row['method'])}\b", "", row["reason"])
                reasons.setdefault(key, (row["reason"], []))[1].append(row["title"])
        notes += [f"{kind}: {', '.join(titles)}: {reason}" for reason, titles in reasons.values()]
    return notes


def flat_rows(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All rows in fractions, one line each.

    A value of one OOD set has "/" and its name, the mean of a group "@" and its name, and what is
    of the full spectrum ends in "@full_spectrum".
    """
    return [_flat(row) for row in board["rows"]]


def board_csv(board: Mapping[str, Any]) -> bytes:
    """`flat_rows` as CSV."""
    return _csv(flat_rows(board), (*NAMES, "status", "reason", "auroc"))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the CSV; means stand alone, values of a set have "/" and its name."""
    line = {name: row[name] for name in (*NAMES, "status")}
    line["reason"] = row.get("reason")
    if row["status"] != "ok":
        return line
    per_set = _by_ending(row)
    if "full_spectrum" in row:
        full = _by_ending(row["full_spectrum"])
        per_set |= {f"{ending}@full_spectrum": values for ending, values in full.items()}
    if "stream" in row:
        line |= {key: row["stream"][key] for key in ("transductive", "orders")}
        spread = _by_ending(row["stream"]["std"])
        per_set |= {f"{ending}@std": values for ending, values in spread.items()}
    for name, bounds in row.get("uncertainty", {}).items():
        line |= {f"{name}_{key}": value for key, value in bounds.items()}
    line |= row["id"]
    line |= {f"{key}/id": value for key, value in row.get("failures", {}).items()}
    for ending, values in per_set.items():
        for key, value in values.items():
            if key == "false_alarms":
                line |= {f"false_alarms_{group}{ending}": share for group, share in value.items()}
            else:
                line[f"{key}{ending}"] = value
    return line


def _by_ending(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Means and metrics of each set and group, by the ending that their columns have."""
    sets = {f"/{name}": values for name, values in section["ood"].items()}
    groups = {f"@{name}": values for name, values in section.get("groups", {}).items()}
    return {"": section["mean"], **groups, **sets}


def _csv(rows: Sequence[Mapping[str, Any]], least: Sequence[str] = NAMES) -> bytes:
    """Rows as CSV with every column that any of them has; absent values are empty.

    Without rows there is the heading of `least`, which those that draw the file look for.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row)) or least
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
