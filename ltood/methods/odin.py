"""ODIN: largest softmax probability, at a high temperature, of an image moved towards its class.

Source: Liang, Li and Srikant, "Enhancing the Reliability of Out-of-distribution Image Detection
in Neural Networks", ICLR 2018 (arXiv:1706.02690), equations 1 and 2; code
https://github.com/facebookresearch/odin. Extraction moves the images: it computes the extra
array odin/features with extraction.odin_magnitude and extraction.odin_temperature, whose defaults
are the paper's for DenseNet-BC on CIFAR-10. There they were chosen on OOD images.

Departures: a pixel whose gradient is exactly 0 stays, while the authors' code moves it; the step is
the same for all channels in units of pixels, which theirs is for its own standard deviations alone
(OpenOOD divides by CIFAR-10's for all data); the score is a logarithm, which orders rows alike
and keeps the digits that a probability near 1 / C loses in float32.

Formula:
    x' = x + magnitude sign(d/dx log max_c softmax(z(x) / T)_c), by extraction
    score = -T log(C max_c softmax(z(x') / T)_c)
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("odin",)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ODIN.

    Attributes:
        temperature: Divides the logits of the moved images. Unitless, above 0; the images were
            moved with extraction.odin_temperature.
    """

    temperature: Positive = 1000.0


class ODIN(Method[Config]):
    """Scores rows by the softmax of their moved images; nothing is learned but the head."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    arrays: tuple[str, ...] = ("odin/features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head."""
        head = inputs.require_head()
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most 0, in units of logits; higher means more OOD."""
        moved = batch.extra("odin/features")
        logits = linear(moved, self.learned("weight_"), self.learned("bias_"))
        # Below the largest logit, so that the difference keeps its digits at any temperature.
        below = (logits - logits.amax(dim=1, keepdim=True)).double() / self.config.temperature
        mean = below.expm1().mean(dim=1)
        return (self.config.temperature * torch.log1p(mean)).float()


Entry = ODIN
