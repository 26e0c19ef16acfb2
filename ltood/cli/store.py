"""`ltood store`: look into a store and verify its bytes."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into a store and verify its bytes.", no_args_is_help=True)


@app.command("info")
def info(store: Annotated[Path, typer.Argument(help="Feature store or score store.")]) -> None:
    """Print splits, arrays, classes and provenance of a store as JSON."""
    import json

    from ltood.store.metadata import read_attributes, store_kind

    typer.echo(json.dumps(read_attributes(store, store_kind(store)), indent=2, sort_keys=True))


@app.command("verify")
def verify(store: Annotated[Path, typer.Argument(help="Feature store or score store.")]) -> None:
    """Read every chunk and compare its checksum."""
    from ltood.store.verifying import verify_store

    for name, rows in verify_store(store):
        typer.echo(f"{name:<24}{rows:>12,} rows  ok")
