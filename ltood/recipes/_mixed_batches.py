"""Base of recipes with outliers: one pass over ID images and outliers, and adjusted logits."""

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from ltood.core.errors import MissingNeedError
from ltood.core.limits import Limits
from ltood.core.prior import ClassPrior
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.recipes._base import StepBatch, TrainingRecipe

#: Outliers for each image of a batch.
AuxPerImage = Annotated[float, Limits(above=0, at_most=1000)]
#: Versions of each image in a batch, where a recipe works with one and with two.
Views = Literal[1, 2]


@dataclass(frozen=True)
class MixedOutput:
    """Output of a backbone for a batch with outliers; N counts the rows of all views.

    Attributes:
        labels: Classes of the ID rows, view after view, [N] int64.
        logits: Class logits of the ID rows, [N, C], float32 or wider.
        aux_logits: Class logits of the outliers, [M, C].
        nodes: Detector nodes of the ID rows, [N, e].
        aux_nodes: Detector nodes of the outliers, [M, e].
        pooled: Features of the ID rows, [N, D].
        aux_pooled: Features of the outliers, [M, D].
    """

    labels: Tensor
    logits: Tensor
    aux_logits: Tensor
    nodes: Tensor
    aux_nodes: Tensor
    pooled: Tensor
    aux_pooled: Tensor


class MixedConfig(Protocol):
    """Settings that all recipes with outliers have.

    Attributes:
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more.
    """

    @property
    def aux_per_image(self) -> float:
        """Outliers for each image of a batch."""

    @property
    def tau(self) -> float:
        """Strength of the logit adjustment."""


_Config = TypeVar("_Config", bound=MixedConfig)


class MixedRecipe(TrainingRecipe, Generic[_Config]):
    """A recipe that trains on ID images and outliers, with an adjusted cross entropy.

    Attributes:
        config: Settings.
        shift: What is added to the logits of ID rows, [C].
    """

    shift: Tensor

    def __init__(self, config: _Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(prior)
        self.config = config
        self.aux_per_image = config.aux_per_image
        self.register_buffer("shift", logit_shift(prior, config.tau))

    def mixed_pass(self, batch: StepBatch) -> MixedOutput:
        """All views and the outliers, as `mixed_pass` sends them through the network."""
        return mixed_pass(batch, self.prior.num_classes)

    def cross_entropy(self, out: MixedOutput) -> Tensor:
        """Cross entropy of the adjusted logits of the ID rows, 0-d, in nats."""
        return logit_adjusted_cross_entropy(out.logits, out.labels, log_prior=self.shift)


class ViewsConfig(MixedConfig, Protocol):
    """Settings of recipes that take one or two views.

    Attributes:
        views: Versions of each image in a batch.
    """

    @property
    def views(self) -> Views:
        """Versions of each image in a batch."""


_ViewsConfig = TypeVar("_ViewsConfig", bound=ViewsConfig)


class ViewsRecipe(MixedRecipe[_ViewsConfig]):
    """A mixed recipe whose settings choose the number of views."""

    def __init__(self, config: _ViewsConfig, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        self.num_views = config.views


def mixed_pass(batch: StepBatch, num_classes: int) -> MixedOutput:
    """Send all views and the outliers through the network at once.

    One pass, because batch norm then normalises both alike; with one pass each, the net could
    separate them by statistics that it does not have at test time.

    Raises:
        MissingNeedError: If the batch holds no outliers.
    """
    output = batch.forward(torch.cat([*batch.views, outliers_of(batch)]))
    labels = batch.labels.repeat(len(batch.views))
    outputs = output.logits.to(torch.promote_types(output.logits.dtype, torch.float32))
    nodes, logits = outputs[:, num_classes:], outputs[:, :num_classes]
    num = len(labels)
    return MixedOutput(
        labels,
        logits[:num],
        logits[num:],
        nodes[:num],
        nodes[num:],
        output.pooled[:num],
        output.pooled[num:],
    )


def outliers_of(batch: StepBatch) -> Tensor:
    """The outliers of a batch, [M, channels, H, W].

    Raises:
        MissingNeedError: If the batch holds none.
    """
    if batch.aux is None:
        raise MissingNeedError(
            "the batch holds no auxiliary outliers, which this recipe learns from; add the split "
            "aux to the data or choose another recipe (`ltood list`)."
        )
    return batch.aux


def logit_shift(prior: ClassPrior, tau: float) -> Tensor:
    """Logarithm of the class shares times `tau`, [C] float32, which training adds to the logits.

    Args:
        prior: Training counts.
        tau: Strength, 0 or more; 0 gives zeros, also for classes without training images.

    Raises:
        DataError: If a class has no training images and tau is above 0.
    """
    if tau == 0:
        return torch.zeros(prior.num_classes)
    return torch.tensor(tau * prior.log(), dtype=torch.float32)
