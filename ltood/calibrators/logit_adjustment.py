"""Logit adjustment after training: take the class prior out of the logits.

Source: Menon, Jayasumana, Rawat, Jain, Veit and Kumar, "Long-tail Learning via Logit
Adjustment", ICLR 2021 (arXiv:2007.07314), the post-hoc form. Meant for
networks trained with plain cross entropy: one trained with the adjusted loss already
gives logits without the prior, and a second adjustment would favour rare classes.
Departure: the shift enters the bias, so that methods which use the head see it too.

Formula:
    z'_c = z_c - tau log prior_c;  features stay as they are
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import Features, Logits
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.core.slots import Calibrator


@dataclass(frozen=True)
class Config(Settings):
    """Settings of logit adjustment.

    Attributes:
        tau: Strength; 1 takes out the whole prior, 0 nothing. Finite, 0 or more.
    """

    tau: NonNegative = 1.0


class LogitAdjustment(Calibrator[Config]):
    """Subtracts the logarithm of the class prior, `tau` times, from the logits."""

    needs: frozenset[Need] = frozenset({Need.PRIOR})
    classes_axis: tuple[str, int] = ("shift_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Find the shift of each class.

        Raises:
            DataError: If a class has no training sample.
        """
        shift = -self.config.tau * torch.from_numpy(inputs.require_prior().log())
        self.shift_: Tensor = shift.float()
        return self

    def _transform(self, features: Features) -> Features:
        """The same tensor, [N, D]; only the logits change."""
        self.learned("shift_")  # Unfitted, it must not look like a calibrator at work.
        return features

    def _adjust_logits(self, logits: Logits) -> Logits:
        """Logits without the prior, [..., C]; a new tensor."""
        return logits + self.learned("shift_").to(logits.device)

    def derived(self) -> dict[str, float]:
        """How much more the rarest class gains than the most frequent one."""
        shift = self.learned("shift_")
        return {"gain_of_rarest": float(shift.max() - shift.min())}


Entry = LogitAdjustment
