"""A margin between outliers and rows of the head classes, which outliers are often taken for.

Source: Miao, Pang, Bai, Li and Zheng, "Out-of-Distribution Detection in Long-Tailed Recognition
with Calibrated Outlier Class Learning", AAAI 2024, debiased head class learning: a triplet whose
anchor is an outlier, whose positive is the outlier farthest from it, and whose negative is a random
row of a head class. Departure: a batch without rows of head classes gives 0, where the released
code stops with an error.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ltood.runtime.devices import upload


def outlier_margin_loss(
    outliers: Tensor, head_rows: Tensor, *, margin: float, generator: torch.Generator
) -> Tensor:
    """Mean over outliers of max(0, distance to the positive - distance to the negative + margin).

    Args:
        outliers: Features of outliers, [M, D], M at least 1.
        head_rows: Features of rows of head classes, [H, D].
        margin: How much nearer the farthest outlier is to be, in the features' unit; above 0.
        generator: Draws the negatives, on the CPU.

    Returns:
        Loss in the features' unit, 0-d; 0 as part of the graph where there are no rows.
    """
    if len(head_rows) == 0:
        return 0 * (outliers.sum() + head_rows.sum())
    with torch.autocast(outliers.device.type, enabled=False):
        dtype = torch.promote_types(outliers.dtype, torch.float32)
        anchors, rows = outliers.to(dtype), head_rows.to(dtype)
        found = anchors.detach()
        farthest = torch.cdist(found, found).argmax(dim=1)
        drawn = torch.randint(len(rows), (len(anchors),), generator=generator)
        return functional.triplet_margin_loss(
            anchors, anchors[farthest], rows[upload(drawn, rows.device)], margin=margin
        )
