"""`ltood predict`: ID or OOD verdicts of a deployed detector for images or features."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltood.cli.options import Device, file_option
from ltood.cli.rule_options import (
    ClassMix,
    Confidence,
    FalseAlarms,
    FalseDiscoveries,
    PerGroup,
    Sets,
    Threshold,
)

if TYPE_CHECKING:
    from ltood.deployment.detector import DeployedDetector
    from ltood.deployment.monitoring import Monitor
    from ltood.deployment.opening import OpenedDetector
    from ltood.deployment.summary import Summary

#: Exit codes beside 0, 1 and 2; see docs/deploy.md.
EXIT_OOD = 3
EXIT_NOT_JUDGED = 4
EXIT_DRIFT = 5


class Format(enum.StrEnum):
    """Format of the output."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    TABLE = "table"


class OnError(enum.StrEnum):
    """Policy for an input that cannot be judged."""

    ROW = "row"
    SKIP = "skip"
    RAISE = "raise"


class FailOn(enum.StrEnum):
    """Findings that give an exit code of their own."""

    OOD = "ood"
    DRIFT = "drift"


def predict(
    detector: Annotated[Path, typer.Argument(help="Detector file (.safetensors or its .json).")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Images, folders of images, or .npz archives of features or images."),
    ] = None,
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
        typer.Option(help="Exit with 3 if an input is OOD, with 5 on drift; repeatable."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="Folder that fills: judge each image once it is whole, until Ctrl-C."),
    ] = None,
    poll: Annotated[float, typer.Option(help="Seconds between two looks at --watch.")] = 1.0,
    until_idle: Annotated[
        float | None, typer.Option(help="End --watch after so many seconds without a new image.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Say whether inputs are like the held-out rows.")
    ] = False,
    reference_from: Annotated[
        Path | None,
        typer.Option(help="The same beside other rows: earlier verdicts, or features in an .npz."),
    ] = None,
    reference_out: Annotated[Path | None, file_option("The same as JSON in a file")] = None,
    drift_level: Annotated[
        float, typer.Option(help="How often there may be a drift alarm without drift.")
    ] = 0.01,
    threshold: Threshold = None,
    fpr: FalseAlarms = None,
    confidence: Confidence = None,
    per_group: PerGroup = None,
    class_mix: ClassMix = None,
    fdr: FalseDiscoveries = None,
    sets: Sets = None,
    batch_size: Annotated[int, typer.Option(help="Images per batch.")] = 256,
    device: Device = "auto",
) -> None:
    """Classify images or features as ID or OOD: verdict, score, class, nearest training images.

    Exit codes: 0 all judged; 4 some inputs could not be judged, and their rows say why; with
    --fail-on 3 an input is OOD, 5 inputs have drifted; 1 nothing was done; 2 the command line is
    not understood.
    """
    from ltood.deployment.deciding import deciding_by
    from ltood.deployment.opening import OpenedDetector, open_detector
    from ltood.deployment.promises import Promise, read_class_mix

    _check_inputs(inputs or [], watch, until_idle)
    call = _Call(_format(form, out, watch), out, on_error, fail_on or [], checkpoint, batch_size)
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
    opened = OpenedDetector(loaded, opened.checkpoint)
    monitor = None
    if reference or reference_from is not None or reference_out is not None:
        monitor = _monitor(loaded, reference_from, drift_level, is_stream=watch is not None)
    elif FailOn.DRIFT in call.fail_on:
        raise _refused("--fail-on drift compares inputs with others; add --reference.")
    if watch is None:
        summary = _predict_all(call, opened, inputs or [], monitor)
    else:
        summary = _watch(call, opened, watch, monitor, poll, until_idle, promise)
    _end(call, loaded, summary, monitor, reference_out)


@dataclass(frozen=True)
class _Call:
    """What the command line asks for, whatever is judged."""

    form: Format
    out: Path | None
    on_error: OnError
    fail_on: list[FailOn]
    checkpoint: Path | None
    batch_size: int


def _predict_all(
    call: _Call, opened: "OpenedDetector", inputs: list[Path], monitor: "Monitor | None"
) -> "Summary":
    """Judge all inputs and write their rows."""
    import sys

    from ltood.deployment.judging import BadInputs
    from ltood.deployment.output import write_file, write_rows
    from ltood.deployment.predicting import predict_files
    from ltood.deployment.summary import Summary
    from ltood.deployment.verdicts import columns_of

    bad, summary = BadInputs(call.on_error.value), Summary()
    rows = predict_files(
        opened.detector,
        inputs,
        checkpoint=opened.checkpoint,
        batch_size=call.batch_size,
        bad=bad,
        show_progress=call.out is not None or not _is_terminal(),
    )
    rows = summary.counted(rows if monitor is None else monitor.watched(rows))
    columns = columns_of(opened.detector)
    if call.out is None:
        write_rows(sys.stdout, rows, call.form.value, columns)
    else:
        write_file(call.out, rows, call.form.value, columns)
    summary.skipped = bad.count if call.on_error is OnError.SKIP else 0
    return summary


def _watch(
    call: _Call,
    opened: "OpenedDetector",
    folder: Path,
    monitor: "Monitor | None",
    poll: float,
    until_idle: float | None,
    promise: object,
) -> "Summary":
    """Judge images of a folder as they arrive."""
    import sys
    from contextlib import ExitStack

    from ltood.deployment.arrivals import Arrivals
    from ltood.deployment.journal import Journal
    from ltood.deployment.judging import BadInputs
    from ltood.deployment.monitoring import refuse_joint
    from ltood.deployment.summary import Summary
    from ltood.deployment.verdicts import columns_of
    from ltood.deployment.watching import Printed, Sink, watch
    from ltood.runtime.console import log
    from ltood.runtime.stopping import stop_on_signals

    detector, bad, summary = (
        opened.detector,
        BadInputs(call.on_error.value),
        Summary(has_pauses=True),
    )
    refuse_joint(detector)
    columns = columns_of(detector)
    with ExitStack() as stack:
        sink: Sink
        seen = {}
        if call.out is None:
            sink = Printed(sys.stdout, call.form.value, columns)
        else:
            made_by = {
                "detector": detector.description.get("description_sha256"),
                "threshold": detector.threshold,
                "promise": repr(promise),
            }
            sink = stack.enter_context(Journal(call.out, call.form.value, columns, made_by))
            seen = sink.seen
            if monitor is not None:  # It goes on where an earlier run has stopped.
                monitor.add_all(sink.past_rows())
        stop = stack.enter_context(stop_on_signals())
        log(f"watching {folder}; Ctrl-C ends it.")
        rows = watch(
            detector,
            Arrivals(folder, seen),
            opened.network,
            sink,
            bad=bad,
            stop=stop,
            batch_size=call.batch_size,
            poll=poll,
            until_idle=until_idle,
        )
        for row in rows if monitor is None else monitor.watched(rows):
            summary.add(row)
            if monitor is not None and monitor.rings():
                log(monitor.found().line())
    summary.skipped = bad.count if call.on_error is OnError.SKIP else 0
    return summary


def _end(
    call: _Call,
    detector: "DeployedDetector",
    summary: "Summary",
    monitor: "Monitor | None",
    reference_out: Path | None,
) -> None:
    """Say how it went, and end with the exit code that the verdicts ask for."""
    from ltood.deployment.verdicts import ERROR, OOD
    from ltood.runtime.console import log
    from ltood.runtime.files import to_json_bytes, write_atomically

    for line in summary.lines(detector):
        log(line)
    is_drift = False
    if monitor is not None:
        drift = monitor.found()
        is_drift = drift.is_drift
        log(drift.line())
        if reference_out is not None:
            write_atomically(reference_out, to_json_bytes(drift.record()))
    if summary.counts[ERROR]:
        raise typer.Exit(EXIT_NOT_JUDGED)
    if FailOn.DRIFT in call.fail_on and is_drift:
        raise typer.Exit(EXIT_DRIFT)
    if FailOn.OOD in call.fail_on and summary.counts[OOD]:
        raise typer.Exit(EXIT_OOD)


def _monitor(
    detector: "DeployedDetector", path: Path | None, level: float, *, is_stream: bool
) -> "Monitor":
    """What compares inputs with the held-out rows, or with those of a file."""
    from ltood.deployment.monitoring import Monitor
    from ltood.deployment.references import held_out, read_reference

    known = held_out(detector) if path is None else read_reference(path, detector)
    return Monitor(detector, known, level=level, is_stream=is_stream)


def _check_inputs(inputs: list[Path], watch: Path | None, until_idle: float | None) -> None:
    if watch is None and not inputs:
        raise typer.BadParameter("give images, folders or archives, or a folder to --watch")
    if watch is not None and str(watch).startswith("-") and not watch.exists():
        raise _refused(f"--watch must be followed by a folder; it is followed by {watch}.")
    if watch is not None and inputs:
        raise _refused(f"--watch {watch} looks at one folder, so {inputs[0]} is too much.")
    if watch is None and until_idle is not None:
        raise _refused("--until-idle ends --watch, and there is none.")


def _refused(text: str) -> Exception:
    from ltood.core.errors import ConfigError

    return ConfigError(text)


def _format(form: Format | None, out: Path | None, watch: Path | None) -> Format:
    """The format that was named, that of the ending of the file, or that of a terminal or pipe."""
    from ltood.deployment.output import format_of

    if form is not None:
        found = form
    elif out is not None:
        found = Format(format_of(out))
    else:
        found = Format.TABLE if _is_terminal() else Format.CSV
    if found is Format.PARQUET and out is None:
        raise _refused("--format parquet is for files; name one with --out.")
    if watch is not None and out is not None and found in (Format.PARQUET, Format.TABLE):
        raise _refused(f"--watch appends rows, which {found} cannot; write .csv or .jsonl.")
    return found


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
