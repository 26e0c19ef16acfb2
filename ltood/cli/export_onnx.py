"""`ltood export-onnx`: a detector and its network as one ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import store_option


def export_onnx(
    detector: Annotated[Path, typer.Argument(help="Detector file (.safetensors or its .json).")],
    out: Annotated[
        Path | None, store_option("The .onnx file to write; beside the detector by default.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder of the backbone, if it is not beside the detector."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write network and detector as one ONNX file, compared with PyTorch before it is kept."""
    from ltood.core.errors import StoreError
    from ltood.deployment.opening import open_detector
    from ltood.deployment.sidecar import detector_paths

    target = out or detector_paths(detector)[0].with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise StoreError(f"{target} is not the name of an ONNX file; name it <name>.onnx.")
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists already; pass --overwrite or another path.")

    from ltood.deployment.onnx_file import to_onnx
    from ltood.runtime.files import write_atomically

    opened = open_detector(detector, checkpoint, "cpu")
    written = to_onnx(opened.detector, opened.network)
    write_atomically(target, written.content)
    if written.reason is not None:
        typer.echo(f"without the score: {written.reason}")
    typer.echo(f"{target}: differs from PyTorch by at most {written.difference:.1g} of each output")
