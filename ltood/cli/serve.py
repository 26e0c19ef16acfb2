"""`ltood serve`: a deployed detector as an HTTP service."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Device
from ltood.cli.rule_options import (
    ClassMix,
    Confidence,
    FalseAlarms,
    PerGroup,
    Sets,
    Threshold,
)


def serve(
    detector: Annotated[Path, typer.Argument(help="Detector file (.safetensors or its .json).")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder of the backbone, if it is not beside the detector."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of the token that clients must send; LTOOD_TOKEN by default."),
    ] = None,
    threshold: Threshold = None,
    fpr: FalseAlarms = None,
    confidence: Confidence = None,
    per_group: PerGroup = None,
    class_mix: ClassMix = None,
    sets: Sets = None,
    batch_size: Annotated[int, typer.Option(help="Most images per batch of the network.")] = 16,
    wait_ms: Annotated[
        float, typer.Option(help="Milliseconds that a batch waits for further images.")
    ] = 5.0,
    max_megabytes: Annotated[float, typer.Option(help="Most MiB of one request's body.")] = 32.0,
    max_images: Annotated[int, typer.Option(help="Most images of one request.")] = 64,
    max_rows: Annotated[int, typer.Option(help="Most rows of features of one request.")] = 1024,
    max_megapixels: Annotated[float, typer.Option(help="Most million pixels of one image.")] = 50.0,
    max_requests: Annotated[int, typer.Option(help="Most requests in work at a time.")] = 64,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a body to arrive, and again for its verdicts.")
    ] = 60.0,
    access_log: Annotated[bool, typer.Option(help="Print a line for each request.")] = False,
    device: Device = "auto",
) -> None:
    """Answer requests over HTTP with the verdicts of a detector, until it is stopped."""
    from ltood.deployment.promises import Promise, read_class_mix
    from ltood.runtime.extras import require
    from ltood.serving.limits import MEGABYTE, Limits

    for package in ("fastapi", "uvicorn", "python_multipart"):
        require(package, "serving")
    from ltood.serving.service import Address, serve_detector

    limits = Limits(
        body=int(max_megabytes * MEGABYTE),
        images=max_images,
        rows=max_rows,
        pixels=int(max_megapixels * 1e6),
        requests=max_requests,
        seconds=timeout,
    )
    promise = Promise.asked(
        fpr=fpr,
        confidence=confidence,
        per_group=None if per_group is None else per_group.value,
        class_mix=None if class_mix is None else read_class_mix(class_mix),
        sets=sets,
    )
    serve_detector(
        detector,
        checkpoint,
        Address(host, port, token_file),
        limits,
        threshold=threshold,
        promise=promise,
        batch_size=batch_size,
        wait=wait_ms / 1000,
        access_log=access_log,
        device=device,
    )
