"""Norm of the last layer's gradient in closed form, for GradNorm and its variants.

Source: Huang, Geng and Li, "On the Importance of Gradients for Detecting Distributional
Shifts in the Wild", NeurIPS 2021 (arXiv:2110.00218).
"""

import torch
from torch import Tensor

from ltood.core.batches import Features, Logits, Scores


def gradient_norm(
    features: Features, logits: Logits, target: Tensor | float, temperature: float = 1.0
) -> Scores:
    """L1 norm of the weight gradient of the cross entropy against `target`.

    The gradient is the outer product of (softmax(z / T) - target) / T and the features, so
    its norm is the product of both L1 norms and needs no backward pass.

    Args:
        features: Penultimate activations, [N, D].
        logits: Head outputs of the same rows, [N, C].
        target: Class distribution to compare with, [C], or one share for all classes.
        temperature: Divides the logits. Unitless, above 0.

    Returns:
        Norms, [N], at least 0; higher means more ID.
    """
    residual = torch.softmax(logits / temperature, dim=1) - target
    return features.abs().sum(dim=1) * residual.abs().sum(dim=1) / temperature
