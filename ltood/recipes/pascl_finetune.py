"""PASCL's second stage: batch norm and head are tuned with logit adjustment, the rest stays.

Source: Wang, Zhang, Zhu, Zheng, Chen, Smola and Wang, "Partial and Asymmetric Contrastive
Learning for Out-of-Distribution Detection in Long-Tailed Recognition", ICML 2022
(arXiv:2207.01160), section 3.3, the auxiliary branch. It continues from the checkpoint of the
recipe pascl: copy its folder and name the copy in training.weights. The paper takes the accuracy
from this network and the OOD scores from the first stage's.

The official settings are 10 epochs of Adam with a learning rate and a weight decay of 5e-4,
batches of 128 and the schedule cosine_epoch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ltood.core.errors import ConfigError
from ltood.core.limits import NonNegative
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch, TrainingRecipe
from ltood.recipes._mixed_batches import logit_shift

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of PASCL's second stage.

    Attributes:
        tau: Strength of the logit adjustment, 0 or more.
    """

    tau: NonNegative = 1.0


class PasclFinetune(TrainingRecipe):
    """Logit-adjusted cross entropy of batch norms and head alone."""

    needs_weights: ClassVar[bool] = True
    shift: Tensor

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and class counts.

        Raises:
            DataError: If a class has no training images and tau is above 0.
        """
        super().__init__(prior)
        self.config = config
        self.register_buffer("shift", logit_shift(prior, config.tau))

    def trainable(self, backbone: Backbone) -> Iterable[nn.Parameter]:
        """Scale and shift of every batch norm, weight and bias of the head.

        Raises:
            ConfigError: If the backbone has no linear head of its own.
        """
        head = getattr(backbone, "linear_head", None)
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"recipe pascl_finetune tunes the linear head, which "
                f"{backbone.entry_name} does not have; choose another backbone or recipe."
            )
        norms = [module for module in backbone.modules() if isinstance(module, _NORMS)]
        return [value for module in (*norms, head) for value in module.parameters()]

    def set_modes(self, backbone: Backbone) -> None:
        """Batch norms learn their statistics, everything else is as at test time."""
        backbone.eval()
        for module in backbone.modules():
            if isinstance(module, _NORMS):
                module.train()

    def losses(self, batch: StepBatch) -> Mapping[str, Tensor]:
        """The term `cross_entropy`, in nats."""
        logits = batch.forward(batch.images).logits[:, : self.prior.num_classes].float()
        loss = logit_adjusted_cross_entropy(logits, batch.labels, log_prior=self.shift)
        return {"cross_entropy": loss}


Entry = PasclFinetune
