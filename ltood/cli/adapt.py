"""`ltood adapt`: a feature store to a head, without DVC or params.yaml."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.completion import recipes
from ltood.cli.options import Device, Store, folder_option


def adapt(
    store: Store,
    recipe: Annotated[
        str,
        typer.Option(help="Recipe that makes a head, e.g. linear_probe.", autocompletion=recipes),
    ],
    out: Annotated[Path, folder_option("Folder of the head, which other commands take as --head.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Recipe setting KEY=VALUE; repeatable.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of the CLIP model, for recipes that read text."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides drawn rows, start and order.")] = 0,
    device: Device = "auto",
) -> None:
    """Make a head from a feature store: a linear layer or, with CLIP, from text.

    A killed run continues where it stopped.
    """
    from ltood.core.registry import check_name
    from ltood.runtime.params import parse_assignments

    check_name("recipes", recipe)
    given = parse_assignments(settings or [], "--set")

    from ltood.adapting.adapt import adapt as make
    from ltood.adapting.encoders import text_encoder
    from ltood.core.registry import load
    from ltood.core.settings import parse, to_section
    from ltood.store.features import FeatureStore

    state = out.with_name(f"{out.name}.state")
    config = parse(given, load("recipes", recipe).Config, f"recipes.{recipe}")
    head = make(
        FeatureStore.open(store),
        recipe,
        to_section(config),
        None if checkpoint is None else text_encoder(checkpoint),
        out,
        state_folder=state,
        seed=seed,
        device_name=device,
    )
    shutil.rmtree(state, ignore_errors=True)  # `out` says by itself what it was made from.
    classes, dim = head.arrays["weight"].shape
    typer.echo(f"{out}: {classes} classes x {dim} features")
