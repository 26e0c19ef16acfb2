"""`ltood compare`: every method on one feature store, as a leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import calibrators, methods, normalisers
from ltood.cli.options import Device, Head, Published, Store, check_folder


def compare(
    store: Store,
    out: Annotated[Path, typer.Option(help="Folder for leaderboard.json, .csv and .md.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method; repeatable; all by default.", autocompletion=methods),
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
        str, typer.Option(help="Columns to print: pascl, patt, himplos, locoop or openood.")
    ] = "pascl",
    head: Head = None,
    device: Device = "auto",
) -> None:
    """Score a feature store with every method in one pass and print the leaderboard."""
    from ltood.comparing.plan import Config, by_package, names_or_all, parse_settings
    from ltood.methods import published_settings
    from ltood.metrics import columns_of

    config = Config(
        methods=names_or_all(method or ["all"]),
        calibrators=names_or_all(calibrator or ["none"]),
        normalisers=names_or_all(normaliser or ["none"]),
    )
    given = dict(parse_settings(settings or []))
    if published:
        for name in config.names("methods"):
            merged = {**published_settings(published, name), **given.get(name, {})}
            if merged:
                given[name] = merged
    chosen = by_package(given, config)
    check_folder(out)
    columns_of(columns)  # A wrong name fails before the work starts.

    from ltood.comparing.leaderboard import check_any, text_table, write_leaderboard
    from ltood.comparing.running import compare as run
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    board, timings = run(
        with_adapted_head(FeatureStore.open(store), head), config, chosen, device=device
    )
    write_leaderboard(out, board, timings, columns)
    check_any(board)
    typer.echo(text_table(board, timings, columns))
