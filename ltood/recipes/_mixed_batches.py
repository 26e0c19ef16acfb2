"""One pass over ID images and auxiliary outliers together, as recipes with outliers train."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.errors import MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.networks.backbone import Backbone
from ltood.recipes._base import StepBatch


@dataclass(frozen=True)
class MixedOutput:
    """What a backbone says about a batch with outliers; N counts the rows of all views.

    Attributes:
        labels: Classes of the ID rows, view after view, [N] int64.
        logits: Class logits of the ID rows, [N, C], float32 or wider.
        aux_logits: Class logits of the outliers, [M, C], likewise.
        nodes: Detector nodes of the ID rows, [N, e], likewise.
        aux_nodes: Detector nodes of the outliers, [M, e], likewise.
        pooled: Features of the ID rows, [N, D].
        aux_pooled: Features of the outliers, [M, D].
    """

    labels: Tensor
    logits: Tensor
    aux_logits: Tensor
    nodes: Tensor
    aux_nodes: Tensor
    pooled: Tensor
    aux_pooled: Tensor


def mixed_pass(backbone: Backbone, batch: StepBatch) -> MixedOutput:
    """Send all views and the outliers through the backbone at once.

    One pass, because batch norm then normalises both alike; with one pass each, the net could
    tell them apart by statistics that it does not have at test time.

    Raises:
        MissingNeedError: If the batch holds no outliers.
    """
    if batch.aux is None:
        raise MissingNeedError(
            "the batch holds no auxiliary outliers, which this recipe learns from; add the split "
            "aux to the data or choose another recipe (`ltood list`)."
        )
    output = backbone(torch.cat([*batch.views, batch.aux]))
    labels = batch.labels.repeat(len(batch.views))
    outputs = output.logits.to(torch.promote_types(output.logits.dtype, torch.float32))
    num_classes = backbone.images.num_classes
    nodes, logits = outputs[:, num_classes:], outputs[:, :num_classes]
    num = len(labels)
    return MixedOutput(
        labels,
        logits[:num],
        logits[num:],
        nodes[:num],
        nodes[num:],
        output.pooled[:num],
        output.pooled[num:],
    )


def logit_shift(prior: ClassPrior, tau: float) -> Tensor:
    """Logarithm of the class shares times `tau`, [C] float32, which training adds to the logits.

    Args:
        prior: Training counts.
        tau: Strength, 0 or more; 0 gives zeros, also for classes without training images.

    Raises:
        DataError: If a class has no training images and tau is above 0.
    """
    if tau == 0:
        return torch.zeros(prior.num_classes)
    return torch.tensor(tau * prior.log(), dtype=torch.float32)
