"""`ltood store`: look into a store and verify its bytes."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Look into a store and verify its bytes.", no_args_is_help=True)


@app.command("info")
def info(store: Annotated[Path, typer.Argument(help="Feature store or score store.")]) -> None:
    """Print splits, arrays, classes and provenance of a store as JSON."""
    import json

    from ltood.store.chunks import read_attributes, store_kind

    typer.echo(json.dumps(read_attributes(store, store_kind(store)), indent=2, sort_keys=True))


@app.command("verify")
def verify(store: Annotated[Path, typer.Argument(help="Feature store or score store.")]) -> None:
    """Read every chunk and compare its checksum."""
    from ltood.runtime.console import progress
    from ltood.store.chunks import (
        StoredRows,
        read_attributes,
        read_head,
        spec_from_json,
        store_kind,
    )

    attributes: dict[str, Any] = read_attributes(store, store_kind(store))
    read_head(store, attributes.get("head", {}))
    for name, (spec, chunk_rows) in spec_from_json(attributes["splits"]).items():
        rows = StoredRows(store, name, spec, chunk_rows)
        with progress(f"verify {name}", spec.rows) as advance:
            for start in range(0, spec.rows, chunk_rows):
                stop = min(start + chunk_rows, spec.rows)
                for array in spec.arrays:
                    rows.read(array, start, stop)
                advance(stop - start)
        typer.echo(f"{name:<24}{spec.rows:>12,} rows  ok")
