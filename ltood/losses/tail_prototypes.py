"""Softmax over prototypes of the tail classes, with outliers in the denominator.

Source: Miao, Pang, Bai, Li and Zheng, "Out-of-Distribution Detection in Long-Tailed Recognition
with Calibrated Outlier Class Learning", AAAI 2024, OOD-aware tail class prototype learning. The
released code scales each half of the features to unit length by itself, so that its "cosines"
reach 2; that is `parts=2`.
"""

import torch
from torch import Tensor
from torch.nn import functional


def tail_prototype_loss(
    rows: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    outliers: Tensor,
    *,
    temperature: float,
    parts: int = 1,
) -> Tensor:
    """Mean over tail rows of minus the log-softmax similarity to the prototype of their class.

    The softmax of a row runs over all prototypes and all outliers: a row of a tail class is to be
    nearer to its prototype than to any outlier.

    Args:
        rows: Features of rows of tail classes, [A, D].
        labels: Number of the prototype of their class, [A] int64.
        prototypes: One for each tail class, [T, D].
        outliers: Features of outliers, [M, D].
        temperature: Divides the cosines; unitless, above 0.
        parts: Equal parts of the features that are scaled to unit length each; divides D.

    Returns:
        Loss in nats, 0-d; 0 as part of the graph where there are no rows.
    """
    # Mixed precision would round the cosines before a temperature of 0.07 magnifies the error.
    with torch.autocast(rows.device.type, enabled=False):
        dtype = torch.promote_types(rows.dtype, torch.float32)
        form = (-1, parts, rows.shape[1] // parts)
        units, others, centres = (
            functional.normalize(given.to(dtype).reshape(form), dim=2).flatten(1)
            for given in (rows, outliers, prototypes)
        )
        logits = units @ torch.cat([centres, others]).T / temperature
        # The sum of no rows is 0, and their mean would not be a number.
        total = functional.cross_entropy(logits, labels, reduction="sum")
        return total / max(len(rows), 1)
