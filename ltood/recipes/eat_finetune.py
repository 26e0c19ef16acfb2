"""EAT's second stage: the heads alone are tuned with logit adjustment.

Source: Wei, Wang and Zhang, "EAT: Towards Long-Tailed Out-of-Distribution Detection", AAAI 2024
(arXiv:2312.08939), equation 7, and its released code
(Stomach-ache/Long-Tailed-OOD-Detection). It continues from the checkpoint of the recipe eat: copy
its folder and name the copy in training.weights. Score its features with outlier_class.

Departures: the feature extractor stays as it is, as the paper says, where the released code lets
batch norms follow the images (official_norms); the mixed images that it makes in this stage take
part in no loss and are not made. The published settings are 10 epochs of Adam with a learning
rate and a weight decay of 5e-4 and batches of 128; for ImageNet-LT 1 epoch of SGD at 0.01 without
momentum, and outlier_images null.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ltood.core.limits import Limits, NonNegative
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch
from ltood.recipes._experts import ExpertsRecipe

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of EAT's second stage.

    Attributes:
        outlier_classes: Classes of outliers that the first stage had; null as there.
        experts: Heads that the first stage had.
        tau: Strength of the logit adjustment, 0 or more.
        outlier_images: Images that each class of outliers counts for in the prior, 1 or more; null
            leaves these classes out of the softmax, as published for ImageNet-LT.
        official_norms: Let batch norms follow the images, as the official code does.
    """

    outlier_classes: Annotated[int, Limits(at_least=1, at_most=10_000)] | None = None
    experts: Annotated[int, Limits(at_least=1, at_most=100)] = 3
    tau: NonNegative = 1.0
    outlier_images: Annotated[int, Limits(at_least=1, at_most=10**9)] | None = 10_000
    official_norms: bool = False


class EatFinetune(ExpertsRecipe[Config]):
    """Logit-adjusted cross entropy of the heads alone.

    Attributes:
        shift: What is added to the outputs that share the softmax, [C] or [C + k].
    """

    needs_weights: ClassVar[bool] = True
    shift: Tensor

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(config, prior)
        counts = prior.counts
        if config.outlier_images is not None:
            counts = np.append(counts, [config.outlier_images] * self.num_aux_outputs)
        shift = np.zeros(len(counts)) if config.tau == 0 else config.tau * ClassPrior(counts).log()
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32))

    def start_from(self, extras: Mapping[str, NDArray[np.float32]]) -> None:
        """Take the heads of the first stage.

        Raises:
            DataError: If the weights bring none, or others.
        """
        self.experts.take(extras, "eat_finetune")

    def trainable(self, backbone: Backbone) -> Iterable[nn.Parameter]:
        """Weight and bias of the head; those of the other heads are the recipe's."""
        del backbone
        return self.experts.first.parameters()

    def set_modes(self, backbone: Backbone) -> None:
        """Everything is as at test time; with `official_norms` batch norms follow the images."""
        backbone.eval()
        if self.config.official_norms:
            for module in backbone.modules():
                if isinstance(module, _NORMS):
                    module.train()

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The term `cross_entropy`, summed over the heads, in nats."""
        outputs = self.experts.outputs(batch.forward(batch.images))
        parts = [
            functional.cross_entropy(rows[:, : len(self.shift)] + self.shift, batch.labels)
            for rows in outputs
        ]
        return {"cross_entropy": torch.stack(parts).sum()}


Entry = EatFinetune
