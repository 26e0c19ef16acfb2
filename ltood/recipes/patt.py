"""PATT: clouds of directions per class, temperature-scaled logit adjustment, outlier exposure.

Source: He, Peng, Zhang, Weng, Luo and Li, "Long-Tailed Out-of-Distribution Detection:
Prioritizing Attention to Tail", AAAI 2025 (arXiv:2408.06742), and the released training code,
from which the weights and the way the terms share one forward pass are taken.

Departures: augmentation and normalisation are the loop's, equal for ID images and outliers unless
its settings say otherwise. The released ImageNet network contrasts the outputs of a projection,
which `projection` adds; it is only trained, and scores are those of the features before it, as
there. By default features are scaled to unit length and the class statistics span at most
two epochs, as the framework describes and its parent method ProCo does; `official_augmentation`
does neither, as the released code. docs/recipes/patt.md has what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltood.core.limits import Limits, NonNegative, Positive
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.implicit_semantic_augmentation import ImplicitSemanticAugmentation
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch, TrainingRecipe
from ltood.recipes._mixed_batches import AuxPerImage, MixedOutput, mixed_pass

#: Width of a layer; the term needs 6 dimensions.
Width = Annotated[int, Limits(at_least=6, at_most=65_536)]
#: Features from which "auto" projects: CIFAR's networks have fewer, ImageNet's more.
_WIDE = 1024


@dataclass(frozen=True)
class Config(Settings):
    """Settings of PATT.

    Attributes:
        official_augmentation: Neither scale features to unit length nor forget epochs before the
            last in the augmentation term, so that every concentration stands at its upper limit.
        oe_weight: Weight of outlier exposure; the released code has 0.1 for CIFAR and 0.02 for
            ImageNet.
        la_weight: Weight of the logit-adjusted cross entropy.
        logit_temperature: Divides the logits before the shift by the prior; the released code has
            0.9 for CIFAR and 0.7 for ImageNet. Unitless, above 0.
        temperature: Divides the features of the augmentation term. Unitless, above 0.
        aux_per_image: Auxiliary outliers for each image of a batch, above 0.
        projection: Layers between the features and the augmentation term: "none" as in the
            released CIFAR networks; two widths, such as [2048, 1024] of the released ImageNet
            network, for linear, batch norm, ReLU, linear; "auto" takes [D, D / 2] for networks
            of 1,024 features D or more and none for others.
    """

    official_augmentation: bool = False
    oe_weight: NonNegative = 0.1
    la_weight: NonNegative = 0.5
    logit_temperature: Positive = 0.9
    temperature: Positive = 0.1
    aux_per_image: AuxPerImage = 2.0
    projection: Literal["auto", "none"] | tuple[Width, Width] = "auto"


class Patt(TrainingRecipe):
    """Three weighted terms from one forward pass over three views and the outliers."""

    num_views = 3
    log_prior: Tensor
    augmentation: ImplicitSemanticAugmentation
    projection: nn.Sequential | None

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images.
        """
        super().__init__(prior)
        self.config = config
        self.aux_per_image = config.aux_per_image
        self.register_buffer("log_prior", torch.tensor(prior.log(), dtype=torch.float32))

    def attach(self, backbone: Backbone) -> None:
        """Build the projection and start the class statistics at the width of its outputs."""
        width, widths = backbone.feature_dim, self._widths(backbone.feature_dim)
        self.projection = None
        if widths is not None:
            hidden, out = widths
            self.projection = nn.Sequential(
                nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
            )
            width = out
        self.augmentation = ImplicitSemanticAugmentation(self.prior.num_classes, width)

    def _widths(self, feature_dim: int) -> tuple[int, int] | None:
        """Hidden and output width of the projection; None for none."""
        wanted = self.config.projection
        if isinstance(wanted, tuple):
            return wanted
        is_wide = wanted == "auto" and feature_dim >= _WIDE
        return (feature_dim, feature_dim // 2) if is_wide else None

    def _contrasted(self, out: MixedOutput) -> Tensor:
        """What the augmentation term reads, [N, P]."""
        if self.projection is None:
            return out.pooled.float()
        # All rows at once: its batch norm sees images and outliers, as that of the network does.
        rows = torch.cat([out.pooled, out.aux_pooled]).float()
        projected: Tensor = self.projection(rows)
        return projected[: len(out.pooled)]

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `augmentation`, `logit_adjusted` and `outlier_exposure`, in nats.

        Raises:
            MissingNeedError: If the batch holds no outliers.
        """
        config, num = self.config, len(batch.labels)
        out = mixed_pass(batch, self.prior.num_classes)
        pooled = self._contrasted(out)
        if not config.official_augmentation:
            pooled = functional.normalize(pooled, dim=1)
            self.augmentation.begin(batch.epoch)
        views = [pooled[num : 2 * num], pooled[2 * num : 3 * num]]
        clouds = [
            self.augmentation(
                view, batch.labels, log_prior=self.log_prior, temperature=config.temperature
            )
            for view in views
        ]
        adjusted = logit_adjusted_cross_entropy(
            out.logits[:num],
            batch.labels,
            log_prior=self.log_prior,
            temperature=config.logit_temperature,
        )
        return {
            "augmentation": torch.stack(clouds).mean().float(),
            "logit_adjusted": config.la_weight * adjusted,
            "outlier_exposure": config.oe_weight * uniform_cross_entropy(out.aux_logits),
        }


Entry = Patt
