"""`ltood export-detector`: a feature store to a detector that stands alone."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.completion import calibrators, methods, normalisers
from ltood.cli.of_pipeline import (
    export_config,
    features_here,
    images_here,
    settings_here,
    slots_here,
)
from ltood.cli.options import (
    CalibratorSettings,
    Device,
    Head,
    NormaliserSettings,
    Published,
    Settings,
    entry_specs,
    open_features,
    store_option,
)

if TYPE_CHECKING:
    from ltood.deployment.detector import DeployedDetector
    from ltood.deployment.examples import PathsOf


def export_detector(
    out: Annotated[
        Path, store_option("The .safetensors file to write; its .json is written next to it.")
    ],
    store: Annotated[
        Path | None, typer.Option(help="Feature store; the pipeline's own by default.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Method name; by default all slots and section export of params.yaml count.",
            autocompletion=methods,
        ),
    ] = None,
    settings: Settings = None,
    published: Published = None,
    calibrator: Annotated[
        str | None, typer.Option(help="Feature calibration.", autocompletion=calibrators)
    ] = None,
    calibrator_settings: CalibratorSettings = None,
    normaliser: Annotated[
        str | None, typer.Option(help="Score normalisation.", autocompletion=normalisers)
    ] = None,
    normaliser_settings: NormaliserSettings = None,
    tpr: Annotated[
        float | None,
        typer.Option(help="Share of ID rows that the threshold accepts, 0 to 1; 0.95 by default."),
    ] = None,
    threshold_split: Annotated[
        str | None, typer.Option(help="ID split that sets the threshold; val by default.")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            help="Training images to keep, which verdicts name as the most similar (5000)."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Prepared data, for the paths of these images.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder of the network, to copy beside the detector."),
    ] = None,
    head: Head = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing detector.")] = False,
) -> None:
    """Fit all slots on a feature store and write them with a threshold, ready to use."""
    given = (
        ("methods", method, settings),
        ("calibrators", calibrator, calibrator_settings),
        ("normalisers", normaliser, normaliser_settings),
    )
    if method is None:
        if published is not None:
            from ltood.core.errors import ConfigError

            raise ConfigError("--published starts a method that is named; pass --method too.")
        params = settings_here()
        slots = slots_here(params, *given)
    else:
        params = None
        named = [(package, name or "none", values) for package, name, values in given]
        slots = entry_specs(*named, published=published)

    from ltood.deployment.exporting import fit_detector
    from ltood.deployment.sidecar import refuse_existing

    refuse_existing(out, overwrite=overwrite)
    chosen = {"tpr": tpr, "threshold_split": threshold_split, "examples": examples}
    config = export_config(params, chosen)
    detector = fit_detector(
        features_here(head) if store is None else open_features(store, head),
        *slots,
        tpr=config.tpr,
        threshold_split=config.threshold_split,
        examples=config.examples,
        paths=_paths(images_here() if store is None and images is None else images),
        device=device,
    )
    _write(out, detector, checkpoint, overwrite=overwrite)


def _write(
    out: Path, detector: "DeployedDetector", checkpoint: Path | None, *, overwrite: bool
) -> None:
    """Write the detector, with its network where that is given, and say what was written."""
    from ltood.deployment.files import detector_paths, network_folder, save_detector
    from ltood.deployment.packing import network_of
    from ltood.deployment.wording import rows_note, threshold_words

    network = None if checkpoint is None else network_of(detector, checkpoint)
    save_detector(out, detector, overwrite=overwrite, network=network)
    threshold = detector.description["threshold"]
    typer.echo(threshold_words(threshold))
    if note := rows_note(threshold):
        typer.echo(note)
    tensors, sidecar = detector_paths(out)
    beside = "" if network is None else f", {network_folder(out).name}"
    typer.echo(f"{tensors} and {sidecar.name}{beside}")


def _paths(images: Path | None) -> "PathsOf | None":
    """What knows the files of training images."""
    if images is None:
        return None
    from ltood.exports.paths import PreparedPaths

    return partial(PreparedPaths(images).named, "train")
