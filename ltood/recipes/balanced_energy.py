"""Balanced Energy: Energy-OE that asks more of outliers which look like classes they often take.

Source: Choi, Jeong and Choi, "Balanced Energy Regularization Loss for Out-of-Distribution
Detection", CVPR 2023 (arXiv:2306.10485), and its released code (hyunjunChhoi/Balanced_Energy). It
tunes a classifier that was trained by cross entropy: name its checkpoint in training.weights.
Score its features with energy.

Departures: the share of outliers that are taken for each class is counted with the network that
training starts from, over all outliers of the split aux, where the released code has a literal
made with another network; it travels with the checkpoint as outlier_shares. A network that starts
from scratch takes outliers for nothing yet: outlier_prior running follows it instead, which is
ours. Outliers come in random order, not the first 30,000 in theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.limits import NonNegative
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.balanced_energy import balanced_energy_loss, log_expected_share
from ltood.losses.energy_margin import energy_margin_loss
from ltood.recipes._base import StepBatch
from ltood.recipes._mixed_batches import AuxPerImage, MixedOutput, MixedRecipe

#: Share of the old average that each step keeps with `outlier_prior: running`.
_KEPT = 0.99


@dataclass(frozen=True)
class Config(Settings):
    """Settings of Balanced Energy.

    Attributes:
        outlier_prior: Where the share of outliers that are taken for each class comes from:
            "start" counts all outliers once, with the network that training starts from;
            "running" averages what the network takes those of the latest steps for.
        energy_weight: Of the two squared hinges, 0 or more.
        margin_in: ID images with an energy below it cost nothing; in the logits' unit. Null
            takes -23 for 10 classes and -27 for any other number.
        margin_out: Outliers with an energy above it, and above what they are lifted by, cost
            nothing; in the logits' unit.
        lift: How much more energy is asked of outliers that look like classes which outliers
            often take, 0 or more; in the logits' unit. Null takes the number of classes, as
            published for 10 and 100.
        lift_power: Exponent of the shares in the lift, 0 or more; 0 makes it equal for all.
        weight_power: Exponent of the shares in the weights of the outliers, 0 or more; 0 weighs
            all alike.
        aux_per_image: Outliers for each image of a batch, above 0.
        tau: Strength of the logit adjustment in training, 0 or more; 0 is plain cross entropy.
    """

    outlier_prior: Literal["start", "running"] = "start"
    energy_weight: NonNegative = 0.1
    margin_in: float | None = None
    margin_out: float = -5.0
    lift: NonNegative | None = None
    lift_power: NonNegative = 0.75
    weight_power: NonNegative = 0.75
    aux_per_image: AuxPerImage = 2.0
    tau: NonNegative = 0.0


class BalancedEnergy(MixedRecipe[Config]):
    """Cross entropy on ID images, and squared hinges that depend on what outliers look like.

    Attributes:
        shares: Share of outliers that are taken for each class, [C] float32, sums to 1.
    """

    shares: Tensor

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            ConfigError: If margin_out lies below margin_in.
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        num = prior.num_classes
        usual = -23.0 if num == 10 else -27.0
        self.margin_in = usual if config.margin_in is None else config.margin_in
        self.lift = float(num) if config.lift is None else config.lift
        if not self.margin_in <= config.margin_out:
            raise ConfigError(
                f"recipes.balanced_energy.margin_out is {config.margin_out}, below the margin_in "
                f"of {self.margin_in}; ID images have the lower energy, so set margin_in to at "
                "most margin_out."
            )
        self.counts_outliers = config.outlier_prior == "start"
        self.register_buffer("shares", torch.full((num,), 1 / num))

    def take_outlier_counts(self, counts: NDArray[np.int64]) -> None:
        """Take the shares of what all outliers look like to the network at the start."""
        self.shares.copy_(torch.from_numpy(counts / counts.sum()))

    def head_extras(self) -> dict[str, NDArray[np.float32]]:
        """The shares, as `outlier_shares`."""
        return {"outlier_shares": self.shares.float().cpu().numpy()}

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The terms `cross_entropy`, in nats, and `energy_margin`, in squared logits."""
        out = self.mixed_pass(batch)
        if self.config.outlier_prior == "running":
            found = torch.zeros_like(self.shares).index_add_(
                0, out.aux_logits.argmax(dim=1), self.shares.new_ones(len(out.aux_logits))
            )
            self.shares.mul_(_KEPT).add_(found / len(out.aux_logits), alpha=1 - _KEPT)
        return {
            "cross_entropy": self.cross_entropy(out),
            "energy_margin": self.config.energy_weight * self._hinges(out),
        }

    def _hinges(self, out: MixedOutput) -> Tensor:
        """The two hinges, unweighted."""
        config, lift = self.config, self.lift
        margins = {"margin_in": self.margin_in, "margin_out": config.margin_out}
        if lift == 0 and config.weight_power == 0:
            # Equal to the last bit, not only to rounding.
            return energy_margin_loss(out.logits, out.aux_logits, **margins)
        shares = self._log_shares(config.lift_power)
        return balanced_energy_loss(
            out.logits,
            out.aux_logits,
            **margins,
            lift=lift * log_expected_share(out.aux_logits, shares).exp(),
            log_weights=log_expected_share(out.aux_logits, self._log_shares(config.weight_power)),
        )

    def _log_shares(self, power: float) -> Tensor:
        """Logarithms of the shares to the power, made to sum to 1, [C]; power 0 is uniform."""
        powers: Tensor = self.shares**power
        return (powers / powers.sum()).log()


Entry = BalancedEnergy
