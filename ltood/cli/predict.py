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


class Groups(enum.StrEnum):
    """Groups of rows, by predicted class, that each keep the promise."""

    CLASS_GROUP = "class_group"
    CLASS = "class"


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
        Path | None,
        typer.Option(help="Checkpoint folder of the backbone, if it is not beside the detector."),
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
    fpr: Annotated[
        float | None,
        typer.Option(help="Call at most this share of new ID rows OOD, instead of the threshold."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Hold --fpr for this share of calibration sets, not only on average."),
    ] = None,
    per_group: Annotated[
        Groups | None,
        typer.Option(help="Hold the promise within groups of rows by predicted class."),
    ] = None,
    class_mix: Annotated[
        str | None,
        typer.Option(help="Class shares at deployment for --fpr: uniform, train or a JSON file."),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(help="Share of ID rows among the rows of this call that are called OOD."),
    ] = None,
    sets: Annotated[
        float | None,
        typer.Option(
            help="Give the set of possible classes; it may miss the true one at this rate."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images per batch.")] = 256,
    device: Device = "auto",
) -> None:
    """Classify images or features as ID or OOD: verdict, score, class, nearest classes."""
    import dataclasses
    import math
    import sys

    from ltood.core.errors import ConfigError
    from ltood.deployment.opening import open_detector
    from ltood.deployment.output import write_file, write_rows
    from ltood.deployment.predicting import predict_files
    from ltood.deployment.promises import Promise, read_class_mix
    from ltood.deployment.verdicts import BadInputs
    from ltood.runtime.console import log

    promise = Promise.asked(
        fpr=fpr,
        confidence=confidence,
        per_group=None if per_group is None else per_group.value,
        class_mix=None if class_mix is None else read_class_mix(class_mix),
        fdr=fdr,
        sets=sets,
    )
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"--threshold is {threshold}; give a finite score.")
    if threshold is not None and promise is not None:
        raise ConfigError("--threshold does not go with fpr, fdr or sets; choose one of them.")
    opened = open_detector(detector, checkpoint, device)
    loaded = opened.detector
    if threshold is not None:
        loaded = dataclasses.replace(loaded, threshold=threshold)
    if promise is not None:
        loaded = loaded.promising(promise)
        for note in loaded.rule.notes if loaded.rule else ():
            log(note)
    bad = BadInputs(skip=on_error is OnError.SKIP)
    verdicts = predict_files(
        loaded,
        inputs,
        checkpoint=opened.checkpoint,
        batch_size=batch_size,
        bad=bad,
    )
    if out is None:
        write_rows(sys.stdout, verdicts, form.value)
    else:
        write_file(out, verdicts, form.value)
    if bad.count:
        log(f"skipped {bad.count:,} {'image or row' if bad.count == 1 else 'images or rows'}.")
