"""`ltood stage NAME`: run one pipeline stage, as `dvc repro` does."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import stages

_HELP = ("-h", "--help")


def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Stage name, such as score.", autocompletion=stages)],
) -> None:
    """Run one stage of the pipeline in this folder: prepare, train, extract, score, ..."""
    import difflib
    import importlib

    from ltood.core.errors import ConfigError
    from ltood.core.registry import available, summary

    names = available("pipeline")
    if name in _HELP:
        typer.echo("Usage: ltood stage NAME\n")
        for known in names:
            typer.echo(f"{known:<12}{summary('pipeline', known)}")
        return
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        typer.echo(f"error: No stage {name!r}.{hint} Known: {', '.join(names)}.", err=True)
        raise typer.Exit(2)
    module = importlib.import_module(f"ltood.pipeline.{name}")
    if context.args:
        if context.args[0] in _HELP:
            typer.echo(f"Usage: ltood stage {name}\n\n{module.__doc__}")
            return
        typer.echo(
            f"error: `ltood stage {name}` takes no {context.args[0]!r}; its settings are in "
            "params.yaml.",
            err=True,
        )
        raise typer.Exit(2)
    if not Path("params.yaml").exists():
        raise ConfigError(
            f"there is no pipeline in {Path.cwd()} (it has no params.yaml); run from the folder "
            "that holds it, or make one with `ltood new FOLDER`."
        )
    module.run()
