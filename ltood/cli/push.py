"""`ltood push`: a store or detector to an address."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    what: Annotated[
        Path, typer.Argument(help="Feature store, score store or detector (.safetensors).")
    ],
    to: Annotated[
        str,
        typer.Argument(
            help="A folder, s3://..., ssh://..., hf://[datasets/]owner/name, or remote://NAME of "
            "DVC."
        ),
    ],
    licence: Annotated[
        str | None, typer.Option(help="Licence for the card: cc-by-4.0, or a sentence.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read back and check parts that are already there.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository of the hub private.")
    ] = False,
) -> None:
    """Send a store or detector with a card; an interrupted run continues."""
    from ltood.core.words import counted
    from ltood.sharing.addresses import open_place
    from ltood.sharing.card import Remarks
    from ltood.sharing.pushing import push as send
    from ltood.sharing.subjects import open_subject

    place = open_place(to, private=private)
    pushed = send(open_subject(what), place, Remarks(licence), check=check)
    typer.echo(
        f"{place.address}: {pushed.manifest.kind} {pushed.manifest.fingerprint[:16]}, "
        f"{counted(pushed.sent, 'part')} sent, {pushed.kept:,} there already"
    )
