"""`ltood report`: one run, or several beside one another, as one HTML file."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.options import (
    Groups,
    Head,
    echo_for,
    file_option,
    folder_option,
    open_features,
    set_groups,
)
from ltood.cli.runs import By

if TYPE_CHECKING:
    from ltood.evaluation.measures import Evaluation
    from ltood.reporting.content import Pieces


def report(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiment, commit, workspace, score store, folder of results, or RUN#ROW of its "
            "comparison; NAME=RUN names it. Two or more are compared."
        ),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Score store of a single run.")] = None,
    out: Annotated[Path | None, file_option("The .html file to write")] = None,
    tables: Annotated[
        Path | None, folder_option("Folder for every table as CSV, Markdown and LaTeX.")
    ] = None,
    leaderboard: Annotated[
        Path | None,
        typer.Option(help="leaderboard.json that `ltood compare` wrote for the same features."),
    ] = None,
    by: By = None,
    against: Annotated[
        str | None, typer.Option(help="Run that others are held against; the best by default.")
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Draws of each interval between runs, at least 2.")
    ] = 200,
    group: Groups = None,
    title: Annotated[
        str | None, typer.Option(help="Heading; the chosen entries by default.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Feature store of a single run, for the training images nearest to errors."
        ),
    ] = None,
    head: Head = None,
    images: Annotated[
        Path | None, typer.Option(help="Prepared data of a single run, for pictures of errors.")
    ] = None,
    paths: Annotated[
        Path | None, typer.Option(help="Folder with <split>.txt: one path per row.")
    ] = None,
) -> None:
    """Write metrics, curves and classes as one HTML file that opens offline; compare runs."""
    from ltood.core.errors import ConfigError

    given = [*(run or ()), *([] if scores is None else [str(scores)])]
    if not given:
        raise ConfigError("name a run: an experiment, a score store or a folder; or --scores.")
    if out is None and tables is None:
        raise ConfigError("--out names the page and --tables a folder of tables; give one of them.")
    if len(given) == 1 and (by or against):
        raise ConfigError("--by and --against compare runs; name two or more.")
    if len(given) > 1 and any((features, images, paths)):
        raise ConfigError("--features, --images and --paths show errors of one run; name one.")
    if images and paths:
        raise ConfigError("--images and --paths both say where images lie; give one of them.")
    from ltood.reporting.write import check_packages

    check_packages()

    from ltood.reporting.sheets import write_sheets
    from ltood.runs.comparing import compare_runs
    from ltood.runs.sources import count_runs
    from ltood.runtime.scratch import scratch_folder

    groups = set_groups(group)
    with scratch_folder() as scratch:
        if count_runs(given) > 1:
            from ltood.runs.page import write_page
            from ltood.runs.sheets import sheets_of as sheets_of_several

            found = compare_runs(
                given, scratch, by=by or (), against=against, groups=groups, samples=samples
            )
            sheets = sheets_of_several(found) if tables else []
            if out is not None:
                write_page(out, found, title)
        else:
            from ltood.runs.single import report_of
            from ltood.showing.decision import read_decision

            shown = partial(_examples, features=features, head=head, images=images, paths=paths)
            own = not any((features, images, paths))
            sheets = report_of(
                given[0],
                scratch,
                out,
                leaderboard,
                groups,
                title,
                shown,
                use_kept=own,
                decision_of=read_decision,
            )
    if tables is not None:
        write_sheets(tables, sheets)
    for made in (out, tables):
        if made is not None:
            echo_for(made)(str(made))


def _examples(
    evaluation: "Evaluation",
    features: Path | None,
    head: Path | None,
    images: Path | None,
    paths: Path | None,
) -> "Pieces":
    """The clearest errors of a run, with what is known of its images."""
    from ltood.reporting.content import Pieces
    from ltood.showing.pictures import ListedPictures, PreparedPictures
    from ltood.showing.sheet import example_sheet

    session = None
    if features is not None:
        from ltood.showing.sessions import scored_session

        session = scored_session(open_features(features, head), evaluation.scores.attributes)
    pictures = PreparedPictures(images) if images else ListedPictures(paths) if paths else None
    return Pieces(examples=example_sheet(evaluation, session, pictures))
