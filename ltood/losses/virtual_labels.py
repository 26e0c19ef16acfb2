"""Cross entropy of outliers to the one of their classes that they are nearest to.

Source: Wei, Wang and Zhang, "EAT: Towards Long-Tailed Out-of-Distribution Detection", AAAI 2024,
equation 3.
"""

from torch import Tensor
from torch.nn import functional


def virtual_label_loss(outputs: Tensor, num_classes: int) -> Tensor:
    """Mean over outliers of minus the log-softmax of their most likely class of outliers.

    The label has no gradient and follows the network from step to step.

    Args:
        outputs: Logits of C ID classes and then of k classes of outliers, [M, C + k], M and k at
            least 1.
        num_classes: Number of ID classes C.

    Returns:
        Loss in nats, 0-d.
    """
    labels = num_classes + outputs.detach()[:, num_classes:].argmax(dim=1)
    return functional.cross_entropy(outputs, labels)
