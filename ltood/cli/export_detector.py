"""`ltood export-detector`: a feature store to a detector that stands alone."""

from functools import partial
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


def export_detector(
    store: Store,
    method: Method,
    out: Annotated[
        Path, store_option("The .safetensors file to write; its .json is written next to it.")
    ],
    settings: Settings = None,
    published: Published = None,
    calibrator: Calibrator = "none",
    calibrator_settings: CalibratorSettings = None,
    normaliser: Normaliser = "none",
    normaliser_settings: NormaliserSettings = None,
    tpr: Annotated[
        float, typer.Option(help="Share of ID rows that the threshold accepts, 0 to 1.")
    ] = 0.95,
    threshold_split: Annotated[
        str | None, typer.Option(help="ID split that sets the threshold; val by default.")
    ] = None,
    examples: Annotated[
        int,
        typer.Option(help="Training images to keep, which verdicts name as the most similar."),
    ] = 5000,
    images: Annotated[
        Path | None, typer.Option(help="Prepared data, for the paths of these images.")
    ] = None,
    head: Head = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing detector.")] = False,
) -> None:
    """Fit all slots on a feature store and write them with a threshold, ready to use."""
    slots = entry_specs(
        ("methods", method, settings),
        ("calibrators", calibrator, calibrator_settings),
        ("normalisers", normaliser, normaliser_settings),
        published=published,
    )

    from ltood.deployment.exporting import fit_detector
    from ltood.deployment.files import detector_paths, refuse_existing, save_detector
    from ltood.deployment.wording import threshold_words

    refuse_existing(out, overwrite=overwrite)
    paths = None
    if images is not None:
        from ltood.exports.paths import PreparedPaths

        paths = partial(PreparedPaths(images).named, "train")
    detector = fit_detector(
        open_features(store, head),
        *slots,
        tpr=tpr,
        threshold_split=threshold_split,
        examples=examples,
        paths=paths,
        device=device,
    )
    save_detector(out, detector, overwrite=overwrite)
    typer.echo(threshold_words(detector.description["threshold"]))
    tensors, sidecar = detector_paths(out)
    typer.echo(f"{tensors} and {sidecar.name}")
