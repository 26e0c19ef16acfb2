"""`ltood stage NAME ...`: run one pipeline stage, as `dvc repro` would."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Annotated

import typer


def _names() -> list[str]:
    # The stages package is found by name: ltood itself never imports it.
    spec = importlib.util.find_spec("stages")
    folders = list(spec.submodule_search_locations or []) if spec else []
    names = {entry.name for entry in pkgutil.iter_modules(folders)}
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

    if name in {"-h", "--help"}:
        typer.echo(f"Usage: ltood stage NAME [ARGS]\n\nStages: {', '.join(_names())}")
        return
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if name not in _names():
        near = difflib.get_close_matches(name, _names(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        typer.echo(f"error: No stage {name!r}.{hint} Known: {', '.join(_names())}.", err=True)
        raise typer.Exit(2)
    module = importlib.import_module(f"stages.{name}")
    module.main(args=context.args, prog_name=f"ltood stage {name}")
