"""`ltood compare`: every method on one feature store, as a leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import calibrators, methods, normalisers
from ltood.cli.options import (
    Device,
    Groups,
    Head,
    Published,
    Store,
    folder_option,
    open_features,
    set_groups,
)


def compare(
    store: Store,
    out: Annotated[Path, folder_option("Folder for leaderboard.json, .csv and .md.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method; repeatable; all by default. Or long_tail, a group of rows.",
            autocompletion=methods,
        ),
    ] = None,
    calibrator: Annotated[
        list[str] | None,
        typer.Option(help="Calibrator, or all; repeatable.", autocompletion=calibrators),
    ] = None,
    normaliser: Annotated[
        list[str] | None,
        typer.Option(help="Normaliser, or all; repeatable.", autocompletion=normalisers),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting NAME.KEY=VALUE, such as knn.k=10; repeatable."),
    ] = None,
    published: Published = None,
    columns: Annotated[
        str, typer.Option(help="Columns to print: pascl, patt, himplos, locoop, eat or openood.")
    ] = "pascl",
    group: Groups = None,
    head: Head = None,
    device: Device = "auto",
) -> None:
    """Score a feature store with every method in one pass and print the leaderboard."""
    from ltood.comparing.plan import Config, chosen_settings, methods_or_word, names_or_all
    from ltood.metrics import columns_of

    config = Config(
        methods=methods_or_word(method or ["all"]),
        calibrators=names_or_all(calibrator or ["none"]),
        normalisers=names_or_all(normaliser or ["none"]),
    )
    chosen = chosen_settings(settings or [], config, published)
    columns_of(columns)  # A wrong name fails before the work starts.
    groups = set_groups(group)

    from ltood.comparing.leaderboard import check_any, refuse_store, text_table, write_leaderboard

    refuse_store(out)
    from ltood.comparing.running import compare as run
    from ltood.runtime.distributed import ranks_from_environment

    features = open_features(store, head)
    with ranks_from_environment() as ranks:
        board, timings = run(features, config, chosen, groups=groups, device=device, ranks=ranks)
        if ranks.rank:
            return
    write_leaderboard(out, board, timings, columns)
    check_any(board)
    typer.echo(text_table(board, timings, columns))
