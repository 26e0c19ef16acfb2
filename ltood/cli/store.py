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
    from ltood.runtime.console import progress
    from ltood.store.features import FeatureStore
    from ltood.store.head import read_head
    from ltood.store.metadata import store_kind
    from ltood.store.scores import ScoreStore

    opened = (ScoreStore if store_kind(store) == "scores" else FeatureStore).open(store)
    read_head(store, opened.attributes.get("head", {}))
    for name in opened.splits:
        rows, files = opened.rows(name), opened.files(name)
        with progress(f"verify {name}", len(rows)) as advance:
            for start, stop in files.ranges:
                for array in rows.spec.arrays:
                    rows.read(array, start, stop)
                advance(stop - start)
        typer.echo(f"{name:<24}{len(rows):>12,} rows  ok")
