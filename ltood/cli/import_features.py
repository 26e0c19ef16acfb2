"""`ltood import`: plain NumPy archives to a feature store."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import store_option
from ltood.core.words import counted


def import_features(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Holds one <split>.npz per split and, for entries that read a head, head.npz; or "
            ".npy, .safetensors, .pt, .parquet, .arrow."
        ),
    ],
    store: Annotated[Path, store_option("Feature store to create.")],
    overwrite: Annotated[bool, typer.Option(help="Replace a store made from other files.")] = False,
    pool: Annotated[
        str | None,
        typer.Option(help="Make vectors of feature maps or tokens: mean, max or cls."),
    ] = None,
) -> None:
    """Turn a folder of arrays into a feature store."""
    from ltood.store.exchange import import_folder

    opened = import_folder(folder, store, overwrite=overwrite, pool=pool)
    for name in opened.splits:
        split = opened.split(name)
        typer.echo(f"{name:<24}{len(split):>12,} rows x {split.dim} features")
    classes = counted(len(opened.class_names), "class", "classes")
    typer.echo(f"{store}: {classes}, fingerprint {opened.fingerprint[:12]}")
