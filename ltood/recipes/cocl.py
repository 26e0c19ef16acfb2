"""COCL: one class of outliers, tail classes kept off outliers and outliers off head classes.

Source: Miao, Pang, Bai, Li and Zheng, "Out-of-Distribution Detection in Long-Tailed Recognition
with Calibrated Outlier Class Learning", AAAI 2024 (arXiv:2312.10686), and its released code
(mala-lab/COCL, Apache-2.0). Its calibration at test time is the calibrator logit_adjustment: it
takes the prior out of the class logits and leaves the class of outliers alone. Score its features
with outlier_class.

Departures: head and tail are the classes with the most and the fewest images, where the released
code takes them by index and the head with one class more (official_groups); features are compared
with prototypes by their cosine, where it scales each half of the features by itself
(official_halves); a batch without rows of head classes gives no margin term, where it stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.limits import NonNegative, Positive, Share
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, MixedRecipe
from ltood.recipes._outlier_class import (
    Groups,
    OutlierClassTerms,
    joint_cross_entropy,
)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of COCL.

    Attributes:
        outlier_weight: Of the cross entropy of outliers to their class, 0 or more.
        tail_weight: Of the term with the prototypes of tail classes, 0 or more.
        head_weight: Of the margin between outliers and head classes, 0 or more.
        temperature: Divides the cosines of the prototypes; unitless, above 0.
        margin: Of the triplet, in the features' unit; above 0.
        tail_share: Share of the classes that are the tail, above 0 to 1.
        head_share: Share of the classes that are the head, above 0 to 1.
        official_groups: Take head and tail by index, and one class more for the head, as the
            official code does.
        official_halves: Scale each half of the features to unit length by itself, as the official
            code does.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
    """

    outlier_weight: NonNegative = 0.05
    tail_weight: NonNegative = 0.05
    head_weight: NonNegative = 0.1
    temperature: Positive = 0.07
    margin: Positive = 1.0
    tail_share: Share = 0.4
    head_share: Share = 0.4
    official_groups: bool = False
    official_halves: bool = False
    aux_per_image: AuxPerImage = 2.0
    tau: NonNegative = 0.0


class Cocl(MixedRecipe[Config]):
    """Cross entropy over the classes and one of outliers, and margins around both groups.

    Attributes:
        margins: Prototypes and groups of classes.
    """

    margins: OutlierClassTerms

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If the tail or the head would have no class.
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        self.groups = Groups(config.tail_share, config.head_share, config.official_groups)
        # Refused here, before a network is built.
        self.groups.head(prior, "recipes.cocl")
        self.groups.tail(prior, "recipes.cocl")

    @property
    def num_aux_outputs(self) -> int:
        """The class of outliers."""
        return 1

    @property
    def num_outlier_classes(self) -> int:
        """The class of outliers."""
        return 1

    def attach(self, backbone: Backbone) -> None:
        """Draw the prototypes.

        Raises:
            ConfigError: If halves are wanted of features of odd width.
        """
        width = backbone.feature_dim
        if self.config.official_halves and width % 2:
            raise ConfigError(
                f"recipes.cocl.official_halves is true, but {backbone.entry_name} has {width} "
                "features, which are not two equal halves; set it to false."
            )
        self.margins = OutlierClassTerms(self.prior, self.groups, "recipes.cocl", width)

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy`, `outlier_class`, `tail_prototypes` and `head_margin`.

        Raises:
            MissingNeedError: If the batch holds no outliers.
        """
        config, out = self.config, self.mixed_pass(batch)
        terms = self.margins(
            out,
            batch.generator,
            temperature=config.temperature,
            margin=config.margin,
            parts=2 if config.official_halves else 1,
        )
        weights = {
            "outlier_class": config.outlier_weight,
            "tail_prototypes": config.tail_weight,
            "head_margin": config.head_weight,
        }
        weighted = {name: weights[name] * value for name, value in terms.items()}
        return {"cross_entropy": joint_cross_entropy(out, self.shift, 1), **weighted}


Entry = Cocl
