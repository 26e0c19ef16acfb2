"""Cross entropy between the uniform distribution and the softmax output for outliers.

Source: Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", ICLR
2019 (arXiv:1812.04606), section 4, the term for classifiers.
"""

from torch import Tensor


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Mean over rows and classes of -log softmax(logits).

    Args:
        logits: Class logits of outliers, [M, C], M at least 1.

    Returns:
        Loss in nats, 0-d; never below log C, which equal logits reach.
    """
    return -logits.log_softmax(dim=1).mean()
