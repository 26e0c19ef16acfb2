"""`ltood sweep`: try many settings of a method on validation rows."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import methods
from ltood.cli.options import (
    Calibrator,
    CalibratorSettings,
    Device,
    Head,
    entry_specs,
    folder_option,
    open_features,
)


def sweep(
    method: Annotated[
        str, typer.Argument(help="Method name; see `ltood list methods`.", autocompletion=methods)
    ],
    store: Annotated[Path, typer.Option(help="Feature store with a split val.")],
    out: Annotated[Path, folder_option("Folder for the table, the figure and the best settings.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(help="KEY=V1,V2,... or KEY=0,10,...,90; repeatable."),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option("--random", help="Try this many random settings instead of the full grid."),
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option("--range", help="With --random: KEY=LOW:HIGH or KEY=LOW:HIGH:log."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of --random.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting KEY=VALUE for all candidates; repeatable."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Key in metrics.json to choose by.")] = "auroc",
    validation_ood: Annotated[
        str, typer.Option(help="Validation outliers: aux or an .npz archive; no test set.")
    ] = "aux",
    calibrator: Calibrator = "none",
    calibrator_settings: CalibratorSettings = None,
    official_sweep_on_test: Annotated[
        bool,
        typer.Option(
            "--official-sweep-on-test",
            help="Allow a test set as --validation-ood, to repeat papers that tuned on theirs.",
        ),
    ] = False,
    head: Head = None,
    device: Device = "auto",
) -> None:
    """Try a grid or random draws of settings on validation rows and name the best."""
    spec, calibration = entry_specs(
        ("methods", method, settings), ("calibrators", calibrator, calibrator_settings)
    )

    from ltood.sweeping.candidates import chosen_candidates

    candidates = chosen_candidates(method, grid or [], interval or [], draws, seed)

    import warnings

    from ltood.sweeping.searching import described
    from ltood.sweeping.searching import sweep as search
    from ltood.sweeping.writing import BEST, write_sweep

    result = search(
        open_features(store, head),
        method,
        candidates,
        fixed=spec.settings,
        calibrator=calibration,
        metric=metric,
        validation_ood=validation_ood,
        official_sweep_on_test=official_sweep_on_test,
        device=device,
    )
    write_sweep(out, result)
    for note in result.warnings:
        warnings.warn(note, stacklevel=1)
    value = result.winner.metrics[metric]
    typer.echo(
        f"best of {len(result.candidates)}: {described(result.winner.swept)} "
        f"({metric} {100 * value:.2f} %)"
    )
    typer.echo(f"{out / BEST}: paste it into params.yaml")
