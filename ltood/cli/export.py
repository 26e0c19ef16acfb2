"""`ltood export`: a split of a store back to a NumPy archive."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import store_option


def export(
    store: Annotated[Path, typer.Argument(help="Feature store or score store.")],
    split: Annotated[str, typer.Option(help="Split to write, or `head`.")],
    out: Annotated[Path, store_option("The .npz file to write.")],
) -> None:
    """Write one split of a store, or its head, as a NumPy archive."""
    from ltood.store.exchange import export_head, export_split

    names = export_head(store, out) if split == "head" else export_split(store, split, out)
    typer.echo(f"{out}: {', '.join(names)}")
