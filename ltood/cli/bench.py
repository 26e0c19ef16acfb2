"""`ltood bench`: what methods cost on this machine."""

from typing import Annotated

import typer

from ltood.cli.completion import methods
from ltood.cli.options import Device


def bench(
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method; repeatable; all by default.", autocompletion=methods),
    ] = None,
    rows: Annotated[int, typer.Option(help="Training rows.")] = 50_000,
    dim: Annotated[int, typer.Option(help="Feature width.")] = 512,
    classes: Annotated[int, typer.Option(help="Classes.")] = 100,
    test_rows: Annotated[int, typer.Option(help="Rows to score.")] = 20_000,
    patches: Annotated[
        int, typer.Option(help="Local features of a row, for CLIP's methods; 0 for none.")
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="Seed of the random features.", min=0, max=2**63 - 1)
    ] = 0,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object per line instead of a table.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Time every method on random features of the given size."""
    import dataclasses
    import json

    from ltood.comparing.benchmark import Shape
    from ltood.comparing.benchmark import bench as run
    from ltood.core.registry import available

    shape = Shape(rows, dim, classes, test_rows, patches, seed)
    names = method or list(available("methods"))
    width = max(map(len, names))
    if not json_lines:
        typer.echo(f"{'method':<{width}}  {'fit s':>9}  {'score s':>9}  {'rows / s':>11}")
    for row in run(names, shape, device):
        if json_lines:
            typer.echo(json.dumps(dataclasses.asdict(row)))
        elif row.status == "ok":
            speed = f"{test_rows / max(row.score_seconds, 1e-9):,.0f}"
            typer.echo(
                f"{row.method:<{width}}  {row.fit_seconds:9.3f}  {row.score_seconds:9.3f}  "
                f"{speed:>11}"
            )
        else:
            typer.echo(f"{row.method:<{width}}  {row.status}: {row.reason}")
