"""`ltood report`: a score store to one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Groups, echo_for, file_option, set_groups


def report(
    scores: Annotated[Path, typer.Option(help="Score store.")],
    out: Annotated[Path, file_option("The .html file to write")],
    leaderboard: Annotated[
        Path | None,
        typer.Option(help="leaderboard.json that `ltood compare` wrote for the same features."),
    ] = None,
    group: Groups = None,
    title: Annotated[
        str | None, typer.Option(help="Heading; the chosen entries by default.")
    ] = None,
) -> None:
    """Write metrics, curves and classes as one HTML file that opens offline."""
    from ltood.evaluation.intervals import uncertainty
    from ltood.evaluation.measures import Evaluation
    from ltood.reporting.inputs import read_leaderboard
    from ltood.reporting.write import check_packages, write_report
    from ltood.store.scores import ScoreStore

    check_packages()
    evaluation = Evaluation(ScoreStore.open(scores), set_groups(group))
    board = None if leaderboard is None else read_leaderboard(leaderboard, evaluation)
    write_report(out, evaluation, intervals=uncertainty(evaluation), leaderboard=board, title=title)
    echo_for(out)(str(out))
