"""BinDisc: cross entropy, and a detector node that learns to separate ID images from outliers.

Source: Bitterwolf, Meinke, Augustin and Hein, "Breaking Down Out-of-Distribution Detection: Many
Methods Based on OOD Training Data Estimate a Combination of the Same Core Quantities", ICML 2022
(arXiv:2206.09880), classifier and binary discriminator with shared features, as ImOOD (NeurIPS
2024, arXiv:2407.16430) trains it with the weight 0.5 and one outlier per image; it also takes
tau 1 and views 2. Score its features with bin_disc.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.losses.binary_discrimination import binary_discrimination_loss
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, Views, ViewsRecipe


@dataclass(frozen=True)
class Config(Settings):
    """Settings of BinDisc.

    Attributes:
        detector_weight: Of the detector's term, 0 or more.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
        views: Augmented versions of each image in a batch; 2 in ImOOD's tables.
    """

    detector_weight: NonNegative = 0.5
    aux_per_image: AuxPerImage = 1.0
    tau: NonNegative = 0.0
    views: Views = 1


class BinDisc(ViewsRecipe[Config]):
    """Cross entropy of the class logits and binary cross entropy of one more output."""

    @property
    def num_aux_outputs(self) -> int:
        """The one node, whose logit is high for ID."""
        return 1

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy` and `binary_discrimination`, in nats."""
        out = self.mixed_pass(batch)
        detector = binary_discrimination_loss(out.nodes[:, 0], out.aux_nodes[:, 0])
        return {
            "cross_entropy": self.cross_entropy(out),
            "binary_discrimination": self.config.detector_weight * detector,
        }


Entry = BinDisc
