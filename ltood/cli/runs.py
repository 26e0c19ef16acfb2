"""`ltood runs`: the runs of this repository as a short table."""

from typing import Annotated

import typer

from ltood.cli.options import AsJson

By = Annotated[
    list[str] | None,
    typer.Option(help="Setting that runs shown as one differ in, such as seed; repeatable."),
]


def runs(
    by: By = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="Best first by auroc, fpr95_ood_pos, fpr95_id_pos, accuracy or accuracy_few."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List experiments: when, their main figures, and the settings that differ between them."""
    from ltood.runs.listing import as_json as json_of
    from ltood.runs.listing import as_text, listed
    from ltood.runs.repository import repository

    lines = listed(repository(), by or (), sort)
    typer.echo(json_of(lines) if as_json else as_text(lines))
