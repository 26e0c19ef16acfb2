"""Outlier Exposure: cross entropy, and equal class probabilities on auxiliary outliers.

Source: Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", ICLR
2019 (arXiv:1812.04606), section 4, with the weight 0.5 of its classifiers. Departures: the
paper's batches hold two outliers per image, the long-tailed tables' one, and one is the default
here; ImOOD's OE row (NeurIPS 2024, arXiv:2407.16430) takes tau 1 and views 2. Score its features
with msp or energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, Views, ViewsRecipe


@dataclass(frozen=True)
class Config(Settings):
    """Settings of Outlier Exposure.

    Attributes:
        outlier_weight: Of the term on outliers, 0 or more.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
        views: Augmented versions of each image in a batch; 2 in ImOOD's tables.
    """

    outlier_weight: NonNegative = 0.5
    aux_per_image: AuxPerImage = 1.0
    tau: NonNegative = 0.0
    views: Views = 1


class OutlierExposure(ViewsRecipe[Config]):
    """Cross entropy on ID images and cross entropy to uniform on outliers."""

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy` and `outlier_exposure`, in nats."""
        out = self.mixed_pass(batch)
        return {
            "cross_entropy": self.cross_entropy(out),
            "outlier_exposure": self.config.outlier_weight * uniform_cross_entropy(out.aux_logits),
        }


Entry = OutlierExposure
