"""Several heads on the same features: the backbone's own is the first of them."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import ConfigError, DataError
from ltood.core.prior import ClassPrior
from ltood.networks.backbone import Backbone, BackboneOutput
from ltood.recipes._base import TrainingRecipe


class Experts(nn.Module):
    """All heads but the backbone's.

    When training ends, the backbone's head becomes the mean of all, which gives the mean of their
    logits, and the heads themselves travel with it.

    Attributes:
        others: The second and further heads.
        first: The backbone's head, whose parameters are the backbone's.
    """

    others: nn.ModuleList

    def __init__(self, backbone: Backbone, recipe: str, num: int) -> None:
        """Draw the other heads afresh.

        Args:
            backbone: Gives the first head.
            recipe: Name of the recipe, for messages.
            num: Heads in all, 1 or more.

        Raises:
            ConfigError: If the backbone has no linear head of its own.
        """
        super().__init__()
        head = getattr(backbone, "linear_head", None)
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"recipe {recipe} trains several linear heads, and {backbone.entry_name} does not "
                "have one of its own; choose another backbone or recipe."
            )
        shape = head.in_features, head.out_features
        self.others = nn.ModuleList([nn.Linear(*shape) for _ in range(num - 1)])
        # A list keeps it out of the state, which holds it with the backbone.
        self._first = [head]

    @property
    def first(self) -> nn.Linear:
        """The backbone's head."""
        return self._first[0]

    def outputs(self, output: BackboneOutput) -> list[Tensor]:
        """Outputs of every head, [N, C + e] each, float32 or wider."""
        dtype = torch.promote_types(output.logits.dtype, torch.float32)
        pooled = output.pooled.to(dtype)
        return [output.logits.to(dtype), *(head(pooled) for head in self.others)]

    def take(self, extras: Mapping[str, NDArray[np.float32]], where: str) -> None:
        """Start from the heads of a checkpoint.

        Args:
            extras: What was learned with its weights besides the head.
            where: Name of the recipe, for messages.

        Raises:
            DataError: If it holds no such heads, or others.
        """
        heads = [self.first, *self.others]
        weight, bias = extras.get("expert_weight"), extras.get("expert_bias")
        wanted = (len(heads), *self.first.weight.shape)
        if weight is None or bias is None or weight.shape != wanted:
            found = "none" if weight is None else " x ".join(map(str, weight.shape))
            raise DataError(
                f"recipe {where} continues with {' x '.join(map(str, wanted))} weights of heads, "
                f"but training.weights holds {found}; name a checkpoint of the recipe eat with "
                "the same numbers of experts and of classes of outliers."
            )
        with torch.no_grad():
            for head, its_weight, its_bias in zip(heads, weight, bias, strict=True):
                head.weight.copy_(torch.from_numpy(its_weight))
                head.bias.copy_(torch.from_numpy(its_bias))

    @torch.no_grad()
    def merge(self) -> dict[str, NDArray[np.float32]]:
        """Make the first head the mean of all; the heads as they were, for the checkpoint."""
        heads = [self.first, *self.others]
        weight = torch.stack([head.weight for head in heads])
        bias = torch.stack([head.bias for head in heads])
        self.first.weight.copy_(weight.mean(dim=0))
        self.first.bias.copy_(bias.mean(dim=0))
        arrays = {"expert_weight": weight, "expert_bias": bias}
        return {name: value.float().cpu().numpy() for name, value in arrays.items()}


def usual_outlier_classes(given: int | None, num_classes: int) -> int:
    """Classes of outliers as set, or 3 for up to 10 classes and 30 for more, as published."""
    if given is not None:
        return given
    return 3 if num_classes <= 10 else 30


class ExpertsConfig(Protocol):
    """What the settings of a recipe with several heads say of them."""

    @property
    def experts(self) -> int:
        """Heads in all."""

    @property
    def outlier_classes(self) -> int | None:
        """Classes of outliers; None takes those of the paper."""


C = TypeVar("C", bound=ExpertsConfig)


class ExpertsRecipe(TrainingRecipe, Generic[C]):
    """Base of recipes that train several heads with classes of outliers.

    Attributes:
        config: Settings.
        experts: The second and further heads.
    """

    config: C
    experts: Experts

    def __init__(self, config: C, prior: ClassPrior) -> None:
        """Take settings and class counts."""
        super().__init__(prior)
        self.config = config
        self._merged: dict[str, NDArray[np.float32]] = {}

    @property
    def num_aux_outputs(self) -> int:
        """The classes of outliers."""
        return usual_outlier_classes(self.config.outlier_classes, self.prior.num_classes)

    @property
    def num_outlier_classes(self) -> int:
        """The classes of outliers."""
        return self.num_aux_outputs

    def attach(self, backbone: Backbone) -> None:
        """Draw the other heads.

        Raises:
            ConfigError: If the backbone has no linear head of its own.
        """
        name = type(self).__module__.rpartition(".")[2]
        self.experts = Experts(backbone, name, self.config.experts)

    def class_logits(self, output: BackboneOutput) -> Tensor:
        """Mean of the heads' class logits, [N, C]."""
        mean = torch.stack(self.experts.outputs(output)).mean(dim=0)
        return mean[:, : self.prior.num_classes]

    def finish(self) -> None:
        """Make the backbone's head the mean of all."""
        self._merged = self.experts.merge()

    def head_extras(self) -> dict[str, NDArray[np.float32]]:
        """All heads, as `expert_weight` and `expert_bias`."""
        return self._merged
