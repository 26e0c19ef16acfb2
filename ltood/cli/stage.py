"""`ltood stage NAME ...`: run one pipeline stage, as `dvc repro` would."""

import importlib
import pkgutil
from pathlib import Path
from typing import Annotated

import typer

#: The package of the stages, in the folder that holds the pipeline; ltood never imports it itself.
_PACKAGE = "stages"


def _names() -> list[str]:
    names = {entry.name for entry in pkgutil.iter_modules([str(Path.cwd() / _PACKAGE)])}
    return sorted(name for name in names if not name.startswith("_"))


def _complete(incomplete: str) -> list[str]:
    return [name for name in _names() if name.startswith(incomplete)]


def stage(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Stage name, such as score.", autocompletion=_complete)
    ],
) -> None:
    """Run one stage of the pipeline in this folder: prepare, train, extract, score, ..."""
    import difflib
    import sys

    from ltood.core.errors import ConfigError

    names = _names()
    if name in {"-h", "--help"}:
        listed = ", ".join(names) or "none in this folder"
        typer.echo(f"Usage: ltood stage NAME [ARGS]\n\nStages: {listed}")
        return
    if not (Path.cwd() / _PACKAGE / "_shell.py").is_file():
        raise ConfigError(
            f"there is no pipeline in {Path.cwd()} (it has no folder {_PACKAGE}); run from a copy "
            "of ltood's repository. The other commands of `ltood` need none."
        )
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        typer.echo(f"error: No stage {name!r}.{hint} Known: {', '.join(names)}.", err=True)
        raise typer.Exit(2)
    sys.path.insert(0, str(Path.cwd()))
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    module.main(args=context.args, prog_name=f"ltood stage {name}")
