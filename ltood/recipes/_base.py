"""Base classes of recipes: treatment of the backbone, and the loss terms of one step.

A recipe entry (`ltood/recipes/<name>.py`) holds a frozen dataclass `Config` and a class `Entry`
that is built as `Entry(config, prior)`. It is a `TrainingRecipe`, whose terms the loop sums, steps
the optimiser with and logs by name, or a `FrozenRecipe`, which takes the backbone as it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.prior import ClassPrior
from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.networks.backbone import Backbone, BackboneOutput


@dataclass(frozen=True)
class StepBatch:
    """Images and labels of one training step.

    Attributes:
        views: One or more augmented versions of the same images, each [B, channels, H, W]
            float in [0, 1].
        labels: Their classes, [B] int64.
        aux: Augmented auxiliary outliers, [M, channels, H, W], or None.
        epoch: Epoch from 0.
        num_epochs: Epochs of the whole run.
        generator: Random numbers on the CPU for this step. A recipe draws from nothing else,
            so that a resumed run draws what the unbroken one drew.
        forward: Sends images [N, channels, H, W] through the network, in the precision of the run
            and on all ranks; gives the outputs of all rows, features and logits as float32.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    aux: Tensor | None
    epoch: int
    num_epochs: int
    generator: torch.Generator
    forward: Callable[[Tensor], BackboneOutput]

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


class Recipe(nn.Module, ABC):
    """Base of all recipes; see `TrainingRecipe` and `FrozenRecipe`."""

    def __init__(self, prior: ClassPrior) -> None:
        """Take the class counts of the training images."""
        super().__init__()
        self.prior = prior

    @property
    def num_aux_outputs(self) -> int:
        """Auxiliary outputs e that the head gets, such as a detector node."""
        return 0

    @property
    def num_outlier_classes(self) -> int:
        """How many of the auxiliary outputs, the last ones, are classes of outliers."""
        return 0


class FrozenRecipe(Recipe):
    """The backbone is taken as it is: the checkpoint depends on the numbers of outputs alone."""


class HeadRecipe(FrozenRecipe):
    """A frozen backbone whose head the stage adapt makes from the feature store.

    Its module is marked by the line `ADAPTS_HEAD = True`, which is read without importing it.
    """


class TrainingRecipe(Recipe):
    """Loss terms, and their parameters and buffers.

    Parameters of a recipe (a projection head) are trained with the backbone's; parameters and
    buffers (a running covariance) are saved when training is interrupted; of them the finished
    checkpoint holds only what `head_extras` gives.

    Attributes:
        num_views: Versions of each image that a step sees.
        aux_per_image: Auxiliary outliers for each image of a batch; 0 for none.
        needs_weights: True if training continues from weights and never starts from scratch.
        counts_outliers: True if all outliers are classified before training starts; the counts
            go to `take_outlier_counts`.
    """

    num_views: int = 1
    needs_weights: ClassVar[bool] = False
    aux_per_image: float = 0.0
    counts_outliers: bool = False

    def attach(self, backbone: Backbone) -> None:
        """Build what depends on the backbone, such as a projection of its width."""
        del backbone

    def trainable(self, backbone: Backbone) -> Iterable[nn.Parameter]:
        """Parameters of the backbone that are trained; all by default."""
        return backbone.parameters()

    def set_modes(self, backbone: Backbone) -> None:
        """Put the parts of the backbone into the mode of training; called before each step."""
        backbone.train()

    def take_outlier_counts(self, counts: NDArray[np.int64]) -> None:
        """Take how many outliers the network takes for each class at the start, [C]."""
        del counts

    def start_from(self, extras: Mapping[str, NDArray[np.float32]]) -> None:
        """Take what the weights that training starts from bring besides the head.

        Args:
            extras: Arrays by their name in a `ClassifierHead`, as `head_extras` gave them.
        """
        del extras

    def class_logits(self, output: BackboneOutput) -> Tensor:
        """Class logits that the validation accuracy is taken from, [N, C]."""
        return output.logits[:, : self.prior.num_classes]

    def finish(self) -> None:
        """Bring the backbone into its final form, when training has ended."""

    def head_extras(self) -> dict[str, NDArray[np.float32]]:
        """Learned arrays for stage two besides the head; empty by default.

        Returns:
            Arrays that a `ClassifierHead` has and the backbone does not give, such as
            `gamma_weight`; written with the finished checkpoint and carried to the features.
        """
        return {}

    @abstractmethod
    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """Loss terms of one step by name, each 0-d and already weighted; the loop sums them."""


def build_recipe(name: str, settings: Mapping[str, Any], prior: ClassPrior) -> Recipe:
    """Build the entry `name` with its settings.

    Raises:
        UnknownNameError: If there is no such recipe.
        ConfigError: If its settings are wrong.
    """
    module = load("recipes", name)
    recipe: Recipe = module.Entry(parse(settings, module.Config, f"recipes.{name}"), prior)
    return recipe
