"""`ltood report`: a score store to one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import file_option


def report(
    scores: Annotated[Path, typer.Option(help="Score store.")],
    out: Annotated[Path, file_option("The .html file to write.")],
    leaderboard: Annotated[
        Path | None,
        typer.Option(help="leaderboard.json that `ltood compare` wrote for the same features."),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Heading; the chosen entries by default.")
    ] = None,
) -> None:
    """Write metrics, curves and classes as one HTML file that opens offline."""
    from ltood.evaluation.measures import bootstrap, breakdown, evaluate
    from ltood.reporting.write import read_leaderboard, write_report
    from ltood.store.scores import ScoreStore

    store = ScoreStore.open(scores)
    rows = None if leaderboard is None else read_leaderboard(leaderboard)
    metrics = evaluate(store)
    write_report(out, store, metrics, breakdown(store), bootstrap(store), rows, title)
    typer.echo(str(out))
