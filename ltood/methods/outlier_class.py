"""Outlier class: the probability of the classes of outliers that a head was trained with.

Source: Miao, Pang, Bai, Li and Zheng, "Out-of-Distribution Detection in Long-Tailed Recognition
with Calibrated Outlier Class Learning", AAAI 2024, with one such class (code: mala-lab/COCL), and
Wei, Wang and Zhang, "EAT: Towards Long-Tailed Out-of-Distribution Detection", AAAI 2024, equation
6, with several classes and several heads (code: Stomach-ache/Long-Tailed-OOD-Detection). COCL also
takes the prior out of the class logits and leaves the outlier class alone: that is the calibrator
logit_adjustment in front of this method. Departure: the score is the log-odds of the probability,
which ranks alike, but does not round to 0 or 1 for confident rows, which would then tie. Heads are
shifted alike where a calibrator shifts their mean.

Formula:
    score = log(s / (1 - s))
    s = mean over the heads of sum_o exp(z_o) / (sum_c exp(z_c) + sum_o exp(z_o)),
    o over classes of outliers, c over ID classes
"""

from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor
from torch.nn import functional

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Reads a part that few heads have; the pipeline checks that early, without importing this.
HEAD_PARTS = True


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the outlier classes.

    Attributes:
        outlier_classes: How many of the auxiliary outputs of the head, the last ones, are classes
            of outliers; null takes what the head says. A head from elsewhere does not say it.
    """

    outlier_classes: Annotated[int, Limits(at_least=1, at_most=10_000)] | None = None


class OutlierClass(Method[Config]):
    """Scores rows by the log-odds of all classes of outliers together.

    Attributes:
        heads_: Weights of the outputs of each head, ID classes first, [m, C + n, D].
        bias_: Their biases, [m, C + n].
        count_: Number of classes of outliers n, 0-d.
    """

    needs: frozenset[Need] = frozenset({Need.OUTLIER_CLASSES})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("heads_", 2)

    def _configure(self) -> None:
        """A number that is given asks nothing of the head but to be there."""
        if self.config.outlier_classes is not None:
            self.needs = frozenset({Need.HEAD})

    def _fit(self, inputs: FitInputs) -> Self:
        """Take the outputs that share the softmax.

        Raises:
            ConfigError: If the head has fewer auxiliary outputs than classes of outliers are named.
        """
        head = inputs.require_head()
        num, most = self.config.outlier_classes, head.num_aux_outputs
        if num is not None and num > most:
            raise ConfigError(
                f"methods.outlier_class.outlier_classes is {num}, but the head has {most} "
                "auxiliary outputs; name at most as many, or null for what the head says."
            )
        num = head.num_outlier_classes if num is None else num
        if num == 0:
            raise MissingNeedError(
                f"fit needs {Need.OUTLIER_CLASSES.value}, which it was not given."
            )
        classes = list(range(head.num_classes))
        total = head.num_classes + most
        outputs = torch.tensor([*classes, *range(total - num, total)])
        weight, bias = _heads(head)
        self.heads_: Tensor = weight[:, outputs]
        self.bias_: Tensor = bias[:, outputs]
        self.count_: Tensor = torch.tensor(num)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, log-odds in nats; higher means more OOD."""
        weight, bias = self.learned("heads_"), self.learned("bias_")
        num_classes = bias.shape[1] - int(self.learned("count_"))
        odds = []
        for rows, shift in zip(weight, bias, strict=True):
            logits = batch.features @ rows.T + shift
            inner, outer = logits[:, :num_classes], logits[:, num_classes:]
            odds.append(outer.logsumexp(dim=1) - inner.logsumexp(dim=1))
        return mean_log_odds(torch.stack(odds))

    def derived(self) -> dict[str, float]:
        """Number of classes of outliers, and of heads."""
        return {
            "outlier_classes": float(self.learned("count_")),
            "heads": float(len(self.learned("bias_"))),
        }


def mean_log_odds(odds: Tensor) -> Tensor:
    """Log-odds of the mean of the probabilities whose log-odds are given.

    Args:
        odds: Log-odds of m heads, [m, N].

    Returns:
        Log-odds in nats, [N].
    """
    if len(odds) == 1:
        return odds[0]
    # The two means divide by the same m.
    yes = functional.logsigmoid(odds).logsumexp(dim=0)
    no = functional.logsigmoid(-odds).logsumexp(dim=0)
    return yes - no


def _heads(head: ClassifierHead) -> tuple[Tensor, Tensor]:
    """All outputs of each head: weights [m, C + e, D] and biases [m, C + e]."""
    weight, bias = head.weight, head.bias
    if head.extra_weight is not None and head.extra_bias is not None:
        weight = torch.cat([weight, head.extra_weight])
        bias = torch.cat([bias, head.extra_bias])
    if head.expert_weight is None or head.expert_bias is None:
        return weight[None], bias[None]
    # A calibrator shifts the biases of the head, which is the mean of all.
    return head.expert_weight, head.expert_bias + (bias - head.expert_bias.mean(dim=0))


Entry = OutlierClass
