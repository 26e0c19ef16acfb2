"""Write records of rows whose cells are all finished."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ltood.boards.digests import score_digests
from ltood.boards.record import FOLDER, SCHEMA, SECTIONS, Record
from ltood.core.errors import ConfigError, DataError, UnknownNameError
from ltood.pipeline import STAGES, Params, code_of
from ltood.runs.repository import git
from ltood.runtime.provenance import digest
from ltood.tables.cells import Cell
from ltood.tables.spec import Row
from ltood.tables.view import View

#: Stages whose code decides the numbers of a row.
_STAGES = ("prepare", "train", "extract", "adapt", "compare")


def submit(view: View, row: str | None, by: str | None, address: str | None) -> list[Record]:
    """Write the records of a table's rows into `leaderboard/` of its repository.

    Args:
        view: The table with its results.
        row: Name of a row; None for all.
        by: Who sends it; the name that git knows if not given.
        address: Where the features lie, {seed} stands for the seed; None if nowhere public.

    Raises:
        UnknownNameError: If there is no such row.
        DataError: If a cell of a row has no result.
    """
    rows = [found for found in view.table.rows if row in (None, found.name)]
    if not rows:
        known = ", ".join(found.name for found in view.table.rows)
        raise UnknownNameError(f"table {view.table.name} has no row {row!r}. Known: {known}.")
    name = by or _name_of_user(view.root)
    contents = [record_of(view, found, by=name, address=address) for found in rows]
    records = [Record.of(content, view.root / FOLDER) for content in contents]
    _refuse_twins(records)
    for record in records:
        record.write()
    return records


def _name_of_user(root: Path) -> str:
    from ltood.core.errors import LtoodError

    try:
        return git(root, "config", "user.name").strip()
    except LtoodError:
        raise ConfigError("git knows no name of yours; say who sends the rows with --by.") from None


def _refuse_twins(records: list[Record]) -> None:
    paths = [record.path for record in records]
    for record in records:
        if paths.count(record.path) > 1:
            raise ConfigError(
                f"two rows would be written to {record.path.name}; rename one, {record.title!r}."
            )


def record_of(view: View, row: Row, *, by: str, address: str | None) -> dict[str, Any]:
    """Content of the record of a row.

    Raises:
        DataError: If one of its cells has no result.
    """
    cells = [cell for cell in view.cells if row in cell.rows]
    for cell in cells:
        if cell.name not in view.records:
            reason = view.failures.get(cell.name, "it was not run")
            raise DataError(
                f"{row.name}, seed {cell.seed}, has no result: {reason}. A record holds every "
                f"seed; run `ltood table run {view.table.name}` first."
            )
    runs = [_run(view, cell, row, address) for cell in cells]
    streams = any("stream" in run["metrics"] for run in runs)
    flags = dict.fromkeys([*row.flags, *(["transductive"] if streams else [])])
    table = view.table
    return {
        "schema": SCHEMA,
        "table": {"name": table.name, "version": table.version, "board": table.board},
        "row": row.name,
        "calibrator": row.calibrator,
        "method": row.method,
        "normaliser": row.normaliser,
        "flags": list(flags),
        "submitted": {"by": by, "date": date.today().isoformat()},
        "runs": runs,
    }


def _run(view: View, cell: Cell, row: Row, address: str | None) -> dict[str, Any]:
    record = view.records[cell.name]
    result = record.rows[row.title]
    made_from = {part["name"]: part["sha256"] for part in record.provenance["made_from"]}
    return {
        "seed": cell.seed,
        "features": made_from["features"],
        "address": None if address is None else address.replace("{seed}", str(cell.seed)),
        "settings": _of_row(cell.params, row),
        "code": {
            "commit": record.commit,
            "stages": stage_digests(cell.params),
            "versions": dict(record.provenance["versions"]),
        },
        "scores": score_digests(view.results.open_scores(cell), row.title),
        "metrics": {key: result[key] for key in SECTIONS if key in result},
    }


def _of_row(params: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """Settings of a cell as far as one of its rows reads them."""
    found = {key: value for key, value in params.items() if key not in ("compare", "device")}
    for slot in ("calibrator", "method", "normaliser"):
        name = getattr(row, slot)
        found[slot] = name
        found[f"{slot}s"] = {name: params[f"{slot}s"][name]}
    return found


def stage_digests(params: Mapping[str, Any]) -> dict[str, str]:
    """Digest of the code of the stages that decide the numbers of a row.

    Args:
        params: All settings, in sections as in params.yaml.
    """
    read = Params.of(params)
    return {stage: digest({"code": code_of(stage, read)}) for stage in STAGES if stage in _STAGES}
