"""Energy-OE: cross entropy, and margins between the energies of ID images and outliers.

Source: Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020
(arXiv:2010.03759), section 3.3, with its weight 0.1 and its margins for CIFAR. Departures: the
paper fine-tunes a trained classifier for 10 epochs, and here as in ImOOD (NeurIPS 2024,
arXiv:2407.16430) the terms act from the first step; one outlier per image instead of the paper's
two; ImOOD's row takes tau 1 and views 2. Score its features with energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.limits import NonNegative
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.energy_margin import energy_margin_loss
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, Views, ViewsRecipe


@dataclass(frozen=True)
class Config(Settings):
    """Settings of Energy-OE.

    Attributes:
        energy_weight: Of the two squared hinges, 0 or more.
        margin_in: ID images with an energy below it cost nothing; in the logits' unit. Null
            takes -23 for 10 classes and -27 for any other number.
        margin_out: Outliers with an energy above it cost nothing; in the logits' unit.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
        views: Augmented versions of each image in a batch; 2 in ImOOD's tables.
    """

    energy_weight: NonNegative = 0.1
    margin_in: float | None = None
    margin_out: float = -5.0
    aux_per_image: AuxPerImage = 1.0
    tau: NonNegative = 0.0
    views: Views = 1

    def check(self) -> None:
        """Refuse margins in the wrong order."""
        if self.margin_in is not None and self.margin_in > self.margin_out:
            raise self.fault(
                "margin_in",
                f"is {self.margin_in} and margin_out is {self.margin_out}; ID images have the "
                "lower energy, so set margin_in to at most margin_out (the paper uses -23 and -5).",
            )


class EnergyOE(ViewsRecipe[Config]):
    """Cross entropy on ID images and squared hinges on the energies of all."""

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If margin_out lies below the margin that the class number chooses.
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        usual = -23.0 if prior.num_classes == 10 else -27.0
        self.margin_in = usual if config.margin_in is None else config.margin_in
        if not self.margin_in <= config.margin_out:
            raise ConfigError(
                f"recipes.energy_oe.margin_out is {config.margin_out}, below the margin_in of "
                f"{self.margin_in} that {prior.num_classes} classes get; ID images have the lower "
                "energy, so set margin_in as well, to at most margin_out."
            )

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy`, in nats, and `energy_margin`, in squared logits."""
        out = self.mixed_pass(batch)
        hinges = energy_margin_loss(
            out.logits,
            out.aux_logits,
            margin_in=self.margin_in,
            margin_out=self.config.margin_out,
        )
        return {
            "cross_entropy": self.cross_entropy(out),
            "energy_margin": self.config.energy_weight * hinges,
        }


Entry = EnergyOE
