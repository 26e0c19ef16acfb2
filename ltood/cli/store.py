"""`ltood store`: look into a store, verify its bytes, and make one of another pooling."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into a store, verify or pool it.", no_args_is_help=True)


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


@app.command("pool")
def pool(
    store: Annotated[Path, typer.Argument(help="Feature store with the extra arrays of pooling.")],
    out: Annotated[Path, typer.Option(help="Feature store to write.")],
    kind: Annotated[str, typer.Option(help="max or mean_std.")] = "max",
    gamma: Annotated[float, typer.Option(help="Weight of the deviation in mean_std.")] = 0.5,
) -> None:
    """Write a store whose features are another pooling of the last map, for every method."""
    from ltood.core.errors import ConfigError
    from ltood.store.features import FeatureStore
    from ltood.store.pooled import PoolingConfig, write_pooled

    config = PoolingConfig(kind, gamma)  # type: ignore[arg-type] # It is checked there.
    if config.kind == "average":
        raise ConfigError("--kind is average, which the store holds already; give max or mean_std.")
    made = write_pooled(FeatureStore.open(store), config, out)
    typer.echo(f"{out}: {', '.join(made.splits)}")
