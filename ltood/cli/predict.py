"""`ltood predict`: ID or OOD verdicts of a deployed detector for images or features."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Device, file_option


class Format(enum.StrEnum):
    """Format of the output."""

    CSV = "csv"
    JSONL = "jsonl"


class OnError(enum.StrEnum):
    """Policy for an unusable image or row."""

    RAISE = "raise"
    SKIP = "skip"


def predict(
    detector: Annotated[Path, typer.Argument(help="Detector file (.safetensors or its .json).")],
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Images, folders of images, or .npz archives of features or images."),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint folder of the backbone; needed for images.")
    ] = None,
    out: Annotated[Path | None, file_option("File to write, standard output by default")] = None,
    form: Annotated[
        Format, typer.Option("--format", help="A table, or one JSON object per line.")
    ] = Format.CSV,
    on_error: Annotated[
        OnError, typer.Option(help="Stop at an unusable image or row, or report it and continue.")
    ] = OnError.RAISE,
    threshold: Annotated[
        float | None,
        typer.Option(help="Largest score that counts as ID; the detector's own by default."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images per batch.")] = 256,
    device: Device = "auto",
) -> None:
    """Classify images or features as ID or OOD: verdict, score, class, nearest classes."""
    import dataclasses
    import math
    import sys

    from ltood.core.errors import ConfigError
    from ltood.deployment.files import load_detector
    from ltood.deployment.output import write_file, write_rows
    from ltood.deployment.predicting import predict_files
    from ltood.deployment.verdicts import BadInputs
    from ltood.runtime.console import log

    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"--threshold is {threshold}; give a finite score.")
    loaded = load_detector(detector, device)
    if threshold is not None:
        loaded = dataclasses.replace(loaded, threshold=threshold)
    bad = BadInputs(skip=on_error is OnError.SKIP)
    verdicts = predict_files(
        loaded,
        inputs,
        checkpoint=checkpoint,
        batch_size=batch_size,
        bad=bad,
    )
    if out is None:
        write_rows(sys.stdout, verdicts, form.value)
    else:
        write_file(out, verdicts, form.value)
    if bad.count:
        log(f"skipped {bad.count:,} {'image or row' if bad.count == 1 else 'images or rows'}.")
