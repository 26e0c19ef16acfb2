"""Binary cross entropy of a detector node that separates ID rows from outliers.

Source: Bitterwolf, Meinke, Augustin and Hein, "Breaking Down Out-of-Distribution Detection: Many
Methods Based on OOD Training Data Estimate a Combination of the Same Core Quantities", ICML 2022
(arXiv:2206.09880), the binary discriminator. As in ImOOD (NeurIPS 2024, arXiv:2407.16430) each
row counts alike, so the share of outliers in the batch decides how much they weigh.
"""

import torch
from torch import Tensor
from torch.nn import functional


def binary_discrimination_loss(id_node: Tensor, aux_node: Tensor) -> Tensor:
    """Mean over all rows of -log sigmoid(g) for ID rows and -log sigmoid(-g) for outliers.

    Args:
        id_node: Detector logits g of ID rows, [N]; high means ID.
        aux_node: Detector logits of outliers, [M]; N + M is at least 1.

    Returns:
        Loss in nats, 0-d.
    """
    # The node with its sign set right is to be large on every row.
    agreement = torch.cat([id_node, -aux_node])
    return -functional.logsigmoid(agreement).mean()
