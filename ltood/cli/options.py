"""Options that several commands take, so that they read alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import calibrators, methods, normalisers

Store = Annotated[Path, typer.Option(help="Feature store.")]
Head = Annotated[
    Path | None,
    typer.Option(help="Head of the adapt stage, read in the place of the store's own."),
]
Method = Annotated[
    str, typer.Option(help="Method name; see `ltood list methods`.", autocompletion=methods)
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Method setting KEY=VALUE; repeatable.")
]
Calibrator = Annotated[str, typer.Option(help="Feature calibration.", autocompletion=calibrators)]
CalibratorSettings = Annotated[
    list[str] | None, typer.Option("--calibrator-set", help="Calibrator setting KEY=VALUE.")
]
Normaliser = Annotated[str, typer.Option(help="Score normalisation.", autocompletion=normalisers)]
NormaliserSettings = Annotated[
    list[str] | None, typer.Option("--normaliser-set", help="Normaliser setting KEY=VALUE.")
]
Published = Annotated[
    str | None,
    typer.Option(help="Start from published settings, e.g. of cifar10-densenet."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]


def check_folder(out: Path) -> None:
    """Refuse a folder to write to before the work starts, where a file is in its way.

    Raises:
        ConfigError: If `out` or a folder above it is a file.
    """
    from ltood.core.errors import ConfigError

    found = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not found.is_dir():
        raise ConfigError(f"--out is {out}, but {found} is a file; name a folder.")
