"""The report of one run, wherever it comes from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ltood.core.errors import DataError
from ltood.evaluation.config import SetGroups
from ltood.evaluation.intervals import uncertainty
from ltood.evaluation.measures import Evaluation
from ltood.reporting.content import Pieces
from ltood.reporting.inputs import read_leaderboard
from ltood.reporting.run_sheets import sheets_of
from ltood.reporting.sheets import Sheet
from ltood.reporting.threshold import Decision, is_of
from ltood.reporting.training import Column, read_history
from ltood.reporting.write import write_report
from ltood.runs.run import Run
from ltood.runs.sources import open_runs
from ltood.store.examples import read_examples

PiecesOf = Callable[[Evaluation], Pieces]
DecisionOf = Callable[[Path], Decision]


def report_of(
    given: str,
    scratch: Path,
    out: Path | None,
    leaderboard: Path | None = None,
    groups: SetGroups | None = None,
    title: str | None = None,
    pieces_of: PiecesOf | None = None,
    *,
    use_kept: bool = True,
    decision_of: DecisionOf | None = None,
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
        use_kept: Whether errors that the run's own stages chose are shown instead.
        decision_of: Reads what is told of a detector; its section is left out by default.

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
        pieces = _pieces(run, pieces_of, use_kept=use_kept)
        write_report(
            out,
            run.evaluation,
            intervals=intervals,
            leaderboard=board,
            title=title,
            pieces=replace(pieces, decision=decision_for(run, decision_of)),
        )
    return sheets_of(run.evaluation, intervals, board)


def history_of(run: Run) -> dict[str, Column] | None:
    """Course of the training of a run; None where it is not there.

    Raises:
        DataError: If the file is damaged.
    """
    return None if run.history is None else read_history(run.history.read_text(encoding="utf-8"))


def _pieces(run: Run, pieces_of: PiecesOf | None, *, use_kept: bool) -> Pieces:
    """What the page shows beside scores: what the run's stages made, else what the caller gives."""
    assert run.evaluation is not None
    kept = read_examples(run.examples) if use_kept and run.examples is not None else None
    if kept is not None and kept.scores == run.evaluation.fingerprint:
        found = Pieces(examples=kept)
    else:
        found = Pieces() if pieces_of is None else pieces_of(run.evaluation)
    return replace(found, history=history_of(run), images=run.images)


def decision_for(run: Run, decision_of: DecisionOf | None) -> Decision | None:
    """What is told of the run's detector, where it was made of these features by these slots.

    Args:
        run: A run with scores.
        decision_of: Reads it; None tells nothing.
    """
    if run.detector is None or decision_of is None:
        return None
    assert run.evaluation is not None
    found, scored = decision_of(run.detector), run.evaluation.scores.attributes
    made = found.description
    return found if made is None or is_of(made, scored) else None
