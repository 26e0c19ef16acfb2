"""PASCL: Outlier Exposure, and contrast of tail-class images with one another and with outliers.

Source: Wang, Zhang, Zhu, Zheng, Chen, Smola and Wang, "Partial and Asymmetric Contrastive
Learning for Out-of-Distribution Detection in Long-Tailed Recognition", ICML 2022
(arXiv:2207.01160), section 3.2: the first stage, whose scores the paper reports. The second
stage, which fine-tunes batch norm and the head with logit adjustment for the accuracy column, is
the recipe pascl_finetune. Defaults are the official ones for CIFAR10-LT (CIFAR100-LT:
contrast_weight 0.02, temperature 0.2).

Departure: the official tail is the last classes by index, which is the tail only where classes
are sorted by count (not in ImageNet-LT); here it is the rarest ones, unless official_tail is set.
ImOOD's PASCL row (NeurIPS 2024, arXiv:2407.16430) takes tau 1 and contrast_weight 0.05. Score its
features with msp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from ltood.core.limits import Limits, NonNegative, Positive, Share
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.asymmetric_contrastive import asymmetric_contrastive_loss
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, MixedRecipe
from ltood.recipes._tail import tail_classes


@dataclass(frozen=True)
class Config(Settings):
    """Settings of PASCL.

    Attributes:
        outlier_weight: Of the cross entropy to uniform on outliers, 0 or more.
        contrast_weight: Of the contrastive term, 0 or more.
        temperature: Divides the cosines; unitless, above 0.
        tail_share: Share of the classes that are the tail, above 0 to 1.
        official_tail: Take the classes with the highest index for the tail, as the official code
            does, instead of those with the fewest images.
        dim: Width of the projection that is contrasted, 1 or more.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
    """

    outlier_weight: NonNegative = 0.5
    contrast_weight: NonNegative = 0.1
    temperature: Positive = 0.07
    tail_share: Share = 0.4
    official_tail: bool = False
    dim: Annotated[int, Limits(at_least=1, at_most=65_536)] = 128
    aux_per_image: AuxPerImage = 1.0
    tau: NonNegative = 0.0


class PASCL(MixedRecipe[Config]):
    """Cross entropy of two views, cross entropy to uniform on outliers, and tail contrast."""

    num_views = 2
    is_tail: Tensor
    projection: nn.Sequential

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If the tail would have no class.
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        is_tail = tail_classes(
            prior, config.tail_share, "recipes.pascl", index_order=config.official_tail
        )
        self.register_buffer("is_tail", is_tail)

    def attach(self, backbone: Backbone) -> None:
        """Build the projection of the backbone's features."""
        width = backbone.feature_dim
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.config.dim)
        )

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy`, `outlier_exposure` and `asymmetric_contrast`, in nats."""
        out = self.mixed_pass(batch)
        in_tail = self.is_tail[out.labels]
        contrast = asymmetric_contrastive_loss(
            self.projection(out.pooled[in_tail]),
            out.labels[in_tail],
            self.projection(out.aux_pooled),
            temperature=self.config.temperature,
        )
        return {
            "cross_entropy": self.cross_entropy(out),
            "outlier_exposure": self.config.outlier_weight * uniform_cross_entropy(out.aux_logits),
            "asymmetric_contrast": self.config.contrast_weight * contrast,
        }


Entry = PASCL
