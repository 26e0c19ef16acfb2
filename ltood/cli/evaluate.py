"""`ltood evaluate`: a score store to metrics."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Groups, echo_for, file_option, folder_option, set_groups


def evaluate(
    scores: Annotated[Path, typer.Option(help="Score store.")],
    out: Annotated[Path, file_option("The .json file to write")],
    columns: Annotated[
        str, typer.Option(help="Columns to print: pascl, patt, himplos, locoop, eat or openood.")
    ] = "pascl",
    group: Groups = None,
    plots: Annotated[Path | None, folder_option("Folder for curve data (CSV).")] = None,
) -> None:
    """Compute AUROC, FPR95, AP, AUPR and accuracies; write JSON and print a table."""
    from ltood.evaluation.binding import bind, write_bound
    from ltood.evaluation.measures import Evaluation
    from ltood.evaluation.plots import write_plots
    from ltood.evaluation.tables import text_table
    from ltood.store.scores import ScoreStore

    evaluation = Evaluation(ScoreStore.open(scores), set_groups(group))
    table = text_table(evaluation.metrics, columns)
    write_bound(out, bind(evaluation.metrics, scores=evaluation.fingerprint))
    if plots is not None:
        write_plots(evaluation, plots)
    echo_for(out)(table)
