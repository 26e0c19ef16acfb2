"""PATT: clouds of directions per class, temperature-scaled logit adjustment, outlier exposure.

Source: He, Peng, Zhang, Weng, Luo and Li, "Long-Tailed Out-of-Distribution Detection:
Prioritizing Attention to Tail", AAAI 2025 (arXiv:2408.06742), and the released training code,
from which the weights and the way the terms share one forward pass are taken.

Departures: augmentation and normalisation are the loop's, equal for ID images and outliers;
features go into the augmentation term without the extra projection that the released ImageNet
network has. By default features are scaled to unit length and the class statistics span at most
two epochs, as the framework describes and its parent method ProCo does; `official_augmentation`
does neither, as the released code. docs/recipes/patt.md has what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ltood.core.limits import NonNegative, Positive
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.implicit_semantic_augmentation import ImplicitSemanticAugmentation
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch, TrainingRecipe
from ltood.recipes._mixed_batches import AuxPerImage, mixed_pass


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
    """

    official_augmentation: bool = False
    oe_weight: NonNegative = 0.1
    la_weight: NonNegative = 0.5
    logit_temperature: Positive = 0.9
    temperature: Positive = 0.1
    aux_per_image: AuxPerImage = 2.0


class Patt(TrainingRecipe):
    """Three weighted terms from one forward pass over three views and the outliers."""

    num_views = 3
    log_prior: Tensor
    augmentation: ImplicitSemanticAugmentation

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
        """Start the class statistics at the backbone's feature width."""
        self.augmentation = ImplicitSemanticAugmentation(
            self.prior.num_classes, backbone.feature_dim
        )

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `augmentation`, `logit_adjusted` and `outlier_exposure`, in nats.

        Raises:
            MissingNeedError: If the batch holds no outliers.
        """
        config, num = self.config, len(batch.labels)
        out = mixed_pass(batch, self.prior.num_classes)
        pooled = out.pooled.float()
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
