"""`ltood init`: write the sections and settings that params.yaml lacks."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Option("--params", help="Parameter file.")] = Path("params.yaml"),
    check: Annotated[bool, typer.Option(help="Only list what is missing; exit 1 if so.")] = False,
) -> None:
    """Add the sections and settings that params.yaml lacks, with their defaults."""
    from ltood.cli.sections import missing_settings, names_of
    from ltood.core.errors import ConfigError
    from ltood.runtime.files import write_atomically
    from ltood.runtime.params import read_params
    from ltood.runtime.params_additions import comments_of, with_missing
    from ltood.runtime.shipped import shipped

    content = read_params(path) if path.exists() else {}
    missing = missing_settings(content, path)
    names = ", ".join(names_of(missing, content))
    if not missing:
        typer.echo(f"{path}: nothing is missing")
    elif check:
        raise ConfigError(f"{path} lacks {names}; run `ltood init`.")
    else:
        comments = comments_of(shipped("params.yaml").read_text(encoding="utf-8"))
        write_atomically(path, with_missing(path, missing, comments).encode())
        typer.echo(f"{path}: added {names}")
