"""`ltood score`: a feature store to a score store, without DVC or params.yaml."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import (
    Calibrator,
    CalibratorSettings,
    Device,
    Head,
    Method,
    Normaliser,
    NormaliserSettings,
    Published,
    Settings,
    Store,
    entry_specs,
    open_features,
    store_option,
)


def score(
    store: Store,
    method: Method,
    out: Annotated[Path, store_option("Score store to write.")],
    settings: Settings = None,
    published: Published = None,
    calibrator: Calibrator = "none",
    calibrator_settings: CalibratorSettings = None,
    normaliser: Normaliser = "none",
    normaliser_settings: NormaliserSettings = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Score only this split; repeatable.")
    ] = None,
    head: Head = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing score store.")] = False,
) -> None:
    """Score every row of a feature store: calibrate, fit, score, normalise."""
    slots = entry_specs(
        ("methods", method, settings),
        ("calibrators", calibrator, calibrator_settings),
        ("normalisers", normaliser, normaliser_settings),
        published=published,
    )

    from ltood.runtime.distributed import ranks_from_environment
    from ltood.scoring.run import score_store
    from ltood.scoring.wording import said_of

    features = open_features(store, head)
    with ranks_from_environment() as ranks:
        scores = score_store(
            features, out, *slots, splits=split, device=device, overwrite=overwrite, ranks=ranks
        )
        if ranks.rank:
            return
    for slot in ("calibrator", "method", "normaliser"):
        for line in said_of(scores.attributes[slot]):
            typer.echo(line)
    typer.echo(f"{out}: {', '.join(scores.splits)}")
