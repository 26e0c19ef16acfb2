"""Weights that training starts from, or that are taken as they are."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.networks.checkpoint import read_meta
from ltood.networks.weights import load_weights
from ltood.recipes import Recipe
from ltood.training.plan import Plan

Extras = dict[str, NDArray[np.float32]]


def describe_weights(source: str) -> dict[str, Any]:
    """What tells given weights apart, as plain values: no path, since a file may move.

    Args:
        source: A file of weights, or the folder of a checkpoint.

    Raises:
        DataError: If there is no such file or it cannot be read.
        StoreError: If the folder holds no whole checkpoint.
    """
    path = Path(source)
    if path.is_dir():
        return {"sha256": read_meta(path)["weights_sha256"]}
    try:
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise DataError(
            f"training.weights is {source!r}, which cannot be read ({error.strerror or error}); "
            "put the file there, or set training.weights to null."
        ) from error


def check_source(source: str | None, out: Path) -> None:
    """Refuse to start from weights that training would replace.

    Args:
        source: A file of weights or the folder of a checkpoint, if any.
        out: Folder that training writes.

    Raises:
        ConfigError: If the weights lie in that folder.
    """
    if source is not None and Path(source).resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"training.weights is {source!r}, in the folder {out} that training writes; copy them "
            "elsewhere, such as to data/weights, and name the copy."
        )


def build(plan: Plan, recipe: Recipe, data: ImageData) -> tuple[Backbone, Extras]:
    """The backbone as training or taking starts, and what its weights bring beside the head.

    Raises:
        ConfigError: If nothing is to be trained and no weights are named, or the backbone has
            no head to train.
        DataError: If weights cannot be read or do not fit.
    """
    source = plan.training.weights
    train = data.source("train")
    images = ImageSpec.of_source(train, len(data.class_names), num_extra=recipe.num_extra)
    backbone = build_backbone(plan.backbone, plan.backbone_settings, images, fetch=source is None)
    if recipe.trains_backbone and backbone.geometry is None:
        data.split("train")  # says what to do where its pictures are files
    if recipe.trains_backbone and not backbone.has_head:
        raise ConfigError(
            f"recipe {plan.recipe} trains a backbone with its head, and {plan.backbone} has no "
            "head; choose the recipe zero_shot, coop or locoop, which make one of text."
        )
    if source is not None:
        return backbone, load_weights(backbone, Path(source))
    needs = not recipe.trains_backbone or recipe.needs_weights
    if needs and not backbone.own_weights:
        # Backbones that can fetch weights have one of these settings.
        keys = [key for key in ("pretrained", "weights") if key in plan.backbone_settings]
        own = f", or ask for published ones in backbones.{plan.backbone}.{keys[0]}" if keys else ""
        what = "goes on from weights" if recipe.trains_backbone else "trains no backbone"
        raise ConfigError(
            f"recipe {plan.recipe} {what}, and {plan.backbone} has no weights of its own as it is "
            "set; put a file into data/weights and name it, or a checkpoint folder, in "
            f"training.weights{own}."
        )
    return backbone, {}


def inputs_of_given(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    """What decides weights that are taken as they are: neither recipe, loop nor seed."""
    source = plan.training.weights
    return {
        "recipe": {"name": "pretrained", "settings": {"num_extra": recipe.num_extra}},
        "training": {},
        "precision": "float32",
        "seed": 0,
        "weights": {} if source is None else describe_weights(source),
    }
