"""`ltood pull`: a store or detector from an address."""

from pathlib import Path
from typing import Annotated

import typer


def pull(
    address: Annotated[str, typer.Argument(metavar="FROM", help="Where `ltood push` sent it.")],
    to: Annotated[
        Path | None, typer.Argument(help="Where to write it; by default here, under its own name.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Accept only this fingerprint; at least 8 digits.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace a store or detector of another fingerprint.")
    ] = False,
) -> None:
    """Fetch a store or detector and verify it; an interrupted run continues."""
    from ltood.core.errors import ConfigError
    from ltood.core.words import counted
    from ltood.sharing.addresses import open_place
    from ltood.sharing.pulling import pull as fetch

    if to is not None and to.name in {"", ".."}:
        raise ConfigError(f"TO is {str(to)!r}; name the file or folder to write.")
    pulled = fetch(open_place(address), to, fingerprint=fingerprint, overwrite=overwrite)
    manifest = pulled.manifest
    typer.echo(
        f"{pulled.path}: {manifest.kind} {manifest.fingerprint[:16]}, {manifest.size / 1e6:,.1f} "
        f"MB verified, {pulled.fetched} of {counted(len(manifest.parts), 'part')} fetched"
    )
