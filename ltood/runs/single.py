"""The report of one run, wherever it comes from."""

from collections.abc import Callable
from pathlib import Path

from ltood.core.errors import DataError
from ltood.evaluation.config import SetGroups
from ltood.evaluation.intervals import uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.reporting.content import Pieces
from ltood.reporting.inputs import read_leaderboard
from ltood.reporting.run_sheets import sheets_of
from ltood.reporting.sheets import Sheet
from ltood.reporting.write import write_report
from ltood.runs.sources import open_runs


def report_of(
    given: str,
    scratch: Path,
    out: Path | None,
    leaderboard: Path | None = None,
    groups: SetGroups | None = None,
    title: str | None = None,
    pieces_of: Callable[[Evaluation], Pieces] | None = None,
) -> list[Sheet]:
    """Write the report of a run, and give its tables.

    Args:
        given: What `open_runs` takes.
        scratch: Folder for what is read from DVC's cache.
        out: The .html file; None writes none.
        leaderboard: leaderboard.json of the same features; the run's own by default.
        groups: OOD sets over which further means are taken.
        title: Heading of the page.
        pieces_of: Gives what else the page shows of these scores.

    Raises:
        DataError: If the run has no scores, or the leaderboard belongs to other features.
        LtoodError: If the run cannot be read.
    """
    run = open_runs([given], scratch, groups)[0]
    if run.evaluation is None:
        raise DataError(f"{run.source} holds metrics alone; a report is made of its scores.")
    path = run.board if leaderboard is None else leaderboard
    board = None if path is None else read_leaderboard(path, run.evaluation)
    intervals = uncertainty(run.evaluation)
    if out is not None:
        write_report(
            out,
            run.evaluation,
            intervals=intervals,
            leaderboard=board,
            title=title,
            pieces=pieces_of and pieces_of(run.evaluation),
        )
    return sheets_of(run.evaluation, intervals, board)
