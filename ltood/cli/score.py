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
)


def score(
    store: Store,
    method: Method,
    out: Annotated[Path, typer.Option(help="Score store to write.")],
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
    from ltood.core.registry import check_name
    from ltood.methods import published_settings
    from ltood.runtime.params import parse_assignments

    check_name("methods", method)
    check_name("calibrators", calibrator)
    check_name("normalisers", normaliser)
    known = published_settings(published, method) if published else {}
    chosen = {**known, **parse_assignments(settings or [])}
    calibration = parse_assignments(calibrator_settings or [])
    normalisation = parse_assignments(normaliser_settings or [])

    from ltood.scoring.run import score_store
    from ltood.scoring.slots import EntrySpec
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    scores = score_store(
        with_adapted_head(FeatureStore.open(store), head),
        out,
        EntrySpec(method, chosen),
        EntrySpec(calibrator, calibration),
        EntrySpec(normaliser, normalisation),
        splits=split,
        device=device,
        overwrite=overwrite,
    )
    for slot in ("calibrator", "method", "normaliser"):
        for key, number in scores.attributes[slot]["in_use"].items():
            typer.echo(f"{scores.attributes[slot]['name']}: {key} in use {number:.6g}")
    typer.echo(f"{out}: {', '.join(scores.splits)}")
