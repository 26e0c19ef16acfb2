"""`ltood predict`: ID or OOD verdicts of a deployed detector for images or features."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.options import Device, file_option

if TYPE_CHECKING:
    from ltood.deployment.summary import Summary

#: Exit codes beside 0, 1 and 2; see docs/deploy.md.
EXIT_OOD = 3
EXIT_NOT_JUDGED = 4


class Format(enum.StrEnum):
    """Format of the output."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    TABLE = "table"


class Groups(enum.StrEnum):
    """Groups of rows, by predicted class, that each keep the promise."""

    CLASS_GROUP = "class_group"
    CLASS = "class"


class OnError(enum.StrEnum):
    """Policy for an input that cannot be judged."""

    ROW = "row"
    SKIP = "skip"
    RAISE = "raise"


class FailOn(enum.StrEnum):
    """Verdicts that give an exit code of their own."""

    OOD = "ood"


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
        Format | None,
        typer.Option(
            "--format",
            help="By the ending of --out; else a table on a terminal, and CSV in a pipe or file.",
        ),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="An input that cannot be judged gets a row with the reason, is reported and "
            "skipped, or stops the command."
        ),
    ] = OnError.ROW,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="Exit with 3 if an input is OOD."),
    ] = None,
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
    """Classify images or features as ID or OOD: verdict, score, class, nearest training images.

    Exit codes: 0 all judged, 3 an input is OOD (with --fail-on ood), 4 some inputs could not be
    judged and have a row with the reason, 1 nothing was done, 2 the command line is not understood.
    """
    import sys

    from ltood.deployment.deciding import deciding_by
    from ltood.deployment.judging import BadInputs
    from ltood.deployment.opening import open_detector
    from ltood.deployment.output import write_file, write_rows
    from ltood.deployment.predicting import predict_files
    from ltood.deployment.promises import Promise, read_class_mix
    from ltood.deployment.summary import Summary
    from ltood.deployment.verdicts import columns_of
    from ltood.runtime.console import log

    chosen = _format(form, out)
    promise = Promise.asked(
        fpr=fpr,
        confidence=confidence,
        per_group=None if per_group is None else per_group.value,
        class_mix=None if class_mix is None else read_class_mix(class_mix),
        fdr=fdr,
        sets=sets,
    )
    opened = open_detector(detector, checkpoint, device)
    loaded = deciding_by(opened.detector, threshold=threshold, promise=promise)
    bad, summary = BadInputs(on_error.value), Summary()
    verdicts = predict_files(
        loaded,
        inputs,
        checkpoint=opened.checkpoint,
        batch_size=batch_size,
        bad=bad,
        show_progress=out is not None or not _is_terminal(),
    )
    rows, columns = summary.counted(verdicts), columns_of(loaded)
    if out is None:
        write_rows(sys.stdout, rows, chosen.value, columns)
    else:
        write_file(out, rows, chosen.value, columns)
    summary.skipped = bad.count if on_error is OnError.SKIP else 0
    for line in summary.lines(loaded):
        log(line)
    _exit(summary, fail_on or [])


def _format(form: Format | None, out: Path | None) -> Format:
    """The format that was named, that of the ending of the file, or that of a terminal or pipe."""
    from ltood.core.errors import ConfigError
    from ltood.deployment.output import format_of

    if form is None and out is None:
        return Format.TABLE if _is_terminal() else Format.CSV
    if form is None and out is not None:
        return Format(format_of(out))
    assert form is not None
    if form is Format.PARQUET and out is None:
        raise ConfigError("--format parquet is for files; name one with --out.")
    return form


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()


def _exit(summary: "Summary", fail_on: list[FailOn]) -> None:
    """End with the exit code that the verdicts ask for."""
    from ltood.deployment.verdicts import ERROR, OOD

    if summary.counts[ERROR]:
        raise typer.Exit(EXIT_NOT_JUDGED)
    if FailOn.OOD in fail_on and summary.counts[OOD]:
        raise typer.Exit(EXIT_OOD)
