"""The report: one HTML file that opens anywhere, offline, and holds its own data.

No script, no web font, no address is loaded; figures are inline SVG and the numbers
stand in the page a second time as JSON. The same input gives the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltood.core.errors import DataError

if TYPE_CHECKING:
    from ltood.store.regions import RegionSheet
    from ltood.store.scores import ScoreStore


def write_report(
    out: Path,
    store: "ScoreStore",
    metrics: Mapping[str, Any],
    breakdown: Mapping[str, Any],
    intervals: Mapping[str, Any] | None = None,
    leaderboard: Sequence[Mapping[str, Any]] | None = None,
    title: str | None = None,
    regions: "RegionSheet | None" = None,
) -> None:
    """Write the report; an existing one is replaced only when the new one is complete.

    Args:
        out: The .html file.
        store: Scores that the metrics were made from.
        metrics: What `evaluation.evaluate` gives, in fractions.
        breakdown: What `evaluation.breakdown` gives.
        intervals: What `evaluation.bootstrap` gives; None leaves intervals out.
        leaderboard: Rows of all methods, for a table that compares them: names such as
            "method" and "calibrator", and metrics in fractions, flat or below "mean" and "id".
        title: Heading of the page; the chosen entries by default.
        regions: Pictures with the regions that do not show their class; None leaves them out.

    Raises:
        DataError: If a piece is missing, not finite, or made from other scores.
        LtoodError: If the file cannot be written.
    """
    from ltood.reporting.content import build
    from ltood.reporting.page import render
    from ltood.runtime.files import write_atomically

    page = render(build(store, metrics, breakdown, intervals, leaderboard, title, regions))
    write_atomically(out, page.encode())


def read_metrics(path: Path) -> dict[str, Any]:
    """Metrics that the evaluate stage wrote.

    Raises:
        DataError: If the file is missing or holds no JSON object.
    """
    return _read_object(path, "evaluate")


def read_leaderboard(path: Path) -> list[dict[str, Any]]:
    """Rows that the compare stage wrote, as `write_report` takes them.

    Raises:
        DataError: If the file is missing or holds no leaderboard.
    """
    rows = _read_object(path, "compare").get("rows")
    if not isinstance(rows, list):
        raise DataError(f"{path} has no list of rows; run the compare stage again.")
    # The title repeats the names; the status says something only where there is a reason.
    first = ("method", "calibrator", "normaliser")
    return [
        {
            **{key: row[key] for key in first if key in row},
            **{key: value for key, value in row.items() if key not in {*first, "title", "status"}},
        }
        for row in rows
    ]


def _read_object(path: Path, stage: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the {stage} stage first.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); run the {stage} stage again.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}; it must be one JSON object. Run the "
            f"{stage} stage again."
        )
    return content
