"""Weights that training starts from, or that are taken as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone, ImageSpec, Pretrained, build_backbone
from ltood.networks.checkpoint_files import weights_digest
from ltood.networks.weights import HeadPolicy, load_weights
from ltood.recipes import ProbeRecipe, Recipe, TrainingRecipe
from ltood.runtime.workspace import locate
from ltood.training.plan import Plan

Extras = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class GivenWeights:
    """Weights that `training.weights` names.

    Attributes:
        path: A file of weights, or the folder of a checkpoint.
        sha256: Digest of their content, which decides what comes out; no path, since files move.
    """

    path: Path
    sha256: str

    @classmethod
    def of(
        cls, named: str | None, sha256: str | None, *, avoid: Sequence[Path]
    ) -> "GivenWeights | None":
        """Find the weights that a setting names; None where it names none.

        Args:
            named: A file of weights, or the folder of a checkpoint.
            sha256: Digest of their content where it is known; taken of them if not.
            avoid: Folders that training writes.

        Raises:
            ConfigError: If the weights lie in a folder that training writes.
            DataError: If there is no such file, or it cannot be read.
            StoreError: If the folder holds no whole checkpoint.
        """
        if named is None:
            return None
        path = locate(named)
        for folder in avoid:
            if path.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(
                    f"training.weights is {named!r}, in the folder {folder} that training writes; "
                    "copy them elsewhere, such as to data/weights, and name the copy."
                )
        return cls(path, sha256 or weights_digest(path))

    def load(self, backbone: Backbone, *, head: HeadPolicy) -> Extras:
        """Give the weights to a backbone.

        Args:
            backbone: Takes them in place.
            head: What becomes of the head.

        Returns:
            What was learned besides the head that scoring can use.

        Raises:
            DataError: If they cannot be read, do not fit, or have another content than was said.
            StoreError: If the folder holds no whole checkpoint.
        """
        found = weights_digest(self.path)
        if found != self.sha256:
            raise DataError(
                f"training.weights is {str(self.path)!r}, whose SHA-256 is {found[:12]}… but was "
                f"{self.sha256[:12]}… when the pipeline started; run the same command again."
            )
        return load_weights(backbone, self.path, head=head)


def build(
    plan: Plan, recipe: Recipe, data: ImageData, given: GivenWeights | None
) -> tuple[Backbone, Extras]:
    """The backbone as training or taking starts, and what its weights bring besides the head.

    Raises:
        ConfigError: If nothing is to be trained and no weights are named, or the backbone has
            no head to train.
        DataError: If weights cannot be read or do not fit.
    """
    trains = isinstance(recipe, TrainingRecipe)
    train = data.source("train")
    images = ImageSpec.of_source(
        train, len(data.class_names), num_aux_outputs=recipe.num_aux_outputs
    )
    backbone = build_backbone(plan.backbone, plan.backbone_settings, images, fetch=given is None)
    if trains and backbone.geometry is None:
        data.split("train")  # says what to do where its images are files
    if trains and not backbone.has_head:
        raise ConfigError(
            f"recipe {plan.recipe} trains a backbone with its head, and {plan.backbone} has no "
            "head; choose the recipe zero_shot, coop or locoop, which make one from text."
        )
    if given is not None:
        # A head that is trained or made later may start afresh, one that is taken must fit.
        made_later = trains or isinstance(recipe, ProbeRecipe)
        head: HeadPolicy = "if_fitting" if made_later else "given"
        return backbone, given.load(backbone, head=head)
    if not _has_weights(plan, recipe, backbone):
        # Backbones that can fetch weights have one of these settings.
        keys = [key for key in ("pretrained", "weights") if key in plan.backbone_settings]
        own = f", or ask for published ones in backbones.{plan.backbone}.{keys[0]}" if keys else ""
        what = f"recipe {plan.recipe} trains no backbone"
        if trains:
            frozen = plan.training.freeze == "backbone"
            what = "training.freeze is backbone" if frozen else f"recipe {plan.recipe} continues"
            what += " and keeps what it has learned" if frozen else " from weights"
        raise ConfigError(
            f"{what}, and {plan.backbone} has no weights of its own as it is "
            "set; put a file into data/weights and name it, or a checkpoint folder, in "
            f"training.weights{own}."
        )
    return backbone, {}


def _has_weights(plan: Plan, recipe: Recipe, backbone: Backbone) -> bool:
    """Whether the backbone has the weights of its settings that a recipe needs, if it needs any."""
    if isinstance(recipe, TrainingRecipe):
        if not recipe.needs_weights:
            frozen = plan.training.freeze == "backbone"
            return not frozen or (isinstance(backbone, Pretrained) and backbone.names_weights)
    elif isinstance(recipe, ProbeRecipe):  # Its head is made later.
        return isinstance(backbone, Pretrained) and backbone.names_weights
    return isinstance(backbone, Pretrained) and backbone.own_weights


def inputs_of_given(recipe: Recipe) -> dict[str, Any]:
    """Inputs that determine weights used without training: no recipe, loop or seed.

    A head that is made later may start afresh, so that such weights are not those of others.
    """
    fresh = {"head": "if_fitting"} if isinstance(recipe, ProbeRecipe) else {}
    settings = {"num_aux_outputs": recipe.num_aux_outputs}
    if recipe.num_outlier_classes:
        settings["outlier_classes"] = recipe.num_outlier_classes
    return {
        **fresh,
        "recipe": {"name": "pretrained", "settings": settings},
        "training": {},
        "precision": "float32",
        "seed": 0,
    }
