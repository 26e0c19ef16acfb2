"""`ltood figure`: figures of a run, or of several, as files for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import store_option
from ltood.cli.runs import By


def figure(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiment, commit, score store, folder or FOLDER#ROW; several are drawn over "
            "one another. The current folder by default."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Figure, such as roc or scores-svhn; repeatable."),
    ] = None,
    all_kinds: Annotated[bool, typer.Option("--all", help="All figures.")] = False,
    out: Annotated[
        Path, store_option("File for one figure (.pdf, .png, .svg), else a folder.")
    ] = Path("figures"),
    format: Annotated[
        list[str] | None, typer.Option(help="Format in a folder; repeatable; pdf by default.")
    ] = None,
    width: Annotated[
        str, typer.Option(help="single (84 mm), double (174 mm) or inches.")
    ] = "single",
    font: Annotated[
        str | None, typer.Option(help="Family of fonts; Matplotlib's own by default.")
    ] = None,
    dpi: Annotated[int, typer.Option(help="Dots per inch of PNG files.")] = 300,
    by: By = None,
) -> None:
    """Draw figures for a paper as PDF, PNG or SVG: the same bytes for the same run."""
    from ltood.core.errors import ConfigError
    from ltood.reporting.paper import FORMATS, Paper, width_of
    from ltood.reporting.write import check_packages

    check_packages()
    paper = Paper(width_of(width), font, dpi)
    for wanted in format or ():
        if wanted not in FORMATS:
            raise ConfigError(f"--format is {wanted!r}; use {', '.join(FORMATS)}.")
    from ltood.runs.figures import chosen, drawings_of, write_figures

    drawings = drawings_of(run or ["."], by or ())
    if not kind and not all_kinds:
        raise ConfigError(f"choose figures with --kind, or --all: {', '.join(drawings)}.")
    wanted_figures = chosen(drawings, kind) if kind else drawings
    for path in write_figures(out, wanted_figures, format or ["pdf"], paper):
        typer.echo(str(path))
