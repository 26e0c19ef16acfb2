"""`ltood preset`: write published settings into params.yaml."""

from pathlib import Path
from typing import Annotated

import typer


def preset(
    name: Annotated[
        str | None, typer.Argument(help="Name of the published run; lists them if left out.")
    ] = None,
    path: Annotated[Path, typer.Option("--params", help="Parameter file.")] = Path("params.yaml"),
    show: Annotated[bool, typer.Option("--show", help="Only print the settings.")] = False,
) -> None:
    """List published settings, or write those of one run into params.yaml."""
    from ltood.tables.settings import complete, names, settings_of, text_of

    if name is None:
        for known in names():
            typer.echo(f"{known:<28} {text_of(known).splitlines()[0].removeprefix('# ')}")
        return
    text = text_of(name)
    if show:
        typer.echo(text, nl=False)
        return

    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import with_settings

    content, source = settings_of(name)
    write_atomically(path, with_settings(path, complete(content)).encode())
    typer.echo(f"{path}: has the settings of {name}; `dvc repro` or `dvc exp run` follows them")
    for departure in source["departures"]:
        typer.echo(f"differs: {departure}")
