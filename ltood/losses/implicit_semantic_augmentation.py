"""Cross entropy under implicit augmentation: each class is a cloud of directions.

Every class is modelled by a von Mises-Fisher distribution whose mean direction and concentration
are kept up to date over the batches. Drawing infinitely many partners from these distributions
for each image has a closed form, a logit per class, whose cross entropy is the loss.

Source: He, Peng, Zhang, Weng, Luo and Li, "Long-Tailed Out-of-Distribution Detection:
Prioritizing Attention to Tail", AAAI 2025 (arXiv:2408.06742), and where that leaves the estimator
open Du, Wang, Song and Huang, "Probabilistic Contrastive Learning for Long-Tailed Visual
Recognition", TPAMI 2024 (arXiv:2403.06726). The Bessel functions are the uniform expansion for
large orders, NIST Digital Library of Mathematical Functions, 10.41.3.

Departures: the recurrence of the released code loses all digits for large concentrations and
is replaced; statistics are float64 buffers, so a resumed run continues with them; a class without
images in an epoch keeps its mean instead of a new random one.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltood.core.errors import DataError

#: Largest concentration; directions that spread less are taken for one direction.
MAX_KAPPA = 1e5
_START_NORM = 0.9


def log_bessel_ratio(kappa_squared: Tensor, order: float) -> Tensor:
    """Natural logarithm of I_order(kappa) / kappa ** order.

    Written in the square, it is finite with a finite gradient at 0 too.

    Args:
        kappa_squared: Squared concentrations, any shape, float64, 0 or more.
        order: Order of the modified Bessel function, above 0. The absolute error is below 1e-9
            from order 31 on and below 1e-3 from order 2 on.

    Returns:
        The logarithms in nats, same shape.
    """
    root = torch.sqrt(1 + kappa_squared / order**2)
    t = 1 / root
    t2 = t * t
    first = t * (3 - 5 * t2) / 24
    second = t2 * (81 + t2 * (-462 + t2 * 385)) / 1152
    third = t * t2 * (30375 + t2 * (-369603 + t2 * (765765 - t2 * 425425))) / 414720
    fourth = -94121676 + t2 * (349922430 + t2 * (-446185740 + t2 * 185910725))
    fourth = t2 * t2 * (4465125 + t2 * fourth) / 39813120
    series = first / order + second / order**2 + third / order**3 + fourth / order**4
    exponent = order * (root - math.log(order) - torch.log1p(root))
    return (
        exponent - 0.5 * math.log(2 * math.pi * order) - 0.5 * torch.log(root) + torch.log1p(series)
    )


class ImplicitSemanticAugmentation(nn.Module):
    """The loss and the running class statistics behind it.

    Attributes:
        mean: Mean feature of each class, [C, D] float64.
        count: Features that went into it, [C] float64.
        next_mean: Mean feature since the epoch began, [C, D] float64.
        next_count: Features that went into that, [C] float64.
        epoch: Epoch of the last feature, 0-d int64.
    """

    mean: Tensor
    count: Tensor
    next_mean: Tensor
    next_count: Tensor
    epoch: Tensor

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        """Start every class with a random direction that its first features replace.

        Args:
            num_classes: Number of classes C.
            feature_dim: Feature width D.

        Raises:
            DataError: If D is below 6, where the expansion is no longer exact to three digits.
        """
        super().__init__()
        if feature_dim < 6:
            raise DataError(
                f"features have {feature_dim} dimensions; implicit augmentation needs 6 or more, "
                "so choose a wider backbone."
            )
        start = torch.randn(num_classes, feature_dim, dtype=torch.float64)
        self.register_buffer("mean", _START_NORM * functional.normalize(start, dim=1))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("next_mean", torch.zeros_like(start))
        self.register_buffer("next_count", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(0))
        self.order = feature_dim / 2 - 1

    @torch.no_grad()
    def begin(self, epoch: int) -> None:
        """In a new epoch forget what lies before the epoch just finished.

        Args:
            epoch: Epoch from 0; a call with the epoch at hand changes nothing.
        """
        # Branch-free, so that a GPU need not report back at every step.
        new = self.epoch != epoch
        seen = new & (self.next_count > 0)
        self.mean.copy_(torch.where(seen[:, None], self.next_mean, self.mean))
        self.count.copy_(torch.where(new, self.next_count, self.count))
        self.next_count.mul_(~new)
        self.epoch.fill_(epoch)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Let features, [N, D], of the classes `labels`, [N] int64, into the class means."""
        sums = torch.zeros_like(self.mean).index_add_(0, labels, features.double())
        num = torch.zeros_like(self.count).index_add_(
            0, labels, torch.ones_like(labels, dtype=torch.float64)
        )
        for mean, count in ((self.mean, self.count), (self.next_mean, self.next_count)):
            count.add_(num)
            share = (num / count.clamp(min=1))[:, None]
            mean.mul_(1 - share).add_(sums / count.clamp(min=1)[:, None])

    def kappa(self) -> Tensor:
        """Concentration of each class, [C] float64 in [0, 1e5].

        Where a mean is longer than 1, as with features that are not unit vectors, it is 1e5.
        """
        norm = self.mean.norm(dim=1)
        kappa = self.mean.shape[1] * norm / (1 - norm**2)
        # A mean of length 1 gives a division by 0, whose infinity is out of range as well.
        return torch.where((kappa >= 0) & (kappa <= MAX_KAPPA), kappa, MAX_KAPPA)

    def logits(self, features: Tensor, temperature: float) -> Tensor:
        """Log of the mean of exp(feature . direction / temperature) over each class.

        Args:
            features: Features, [N, D] float.
            temperature: Unitless, above 0.

        Returns:
            Logits in nats, [N, C] float64; the gradient reaches the features only.
        """
        scaled = features.double() / temperature
        kappa = self.kappa()
        centres = kappa[:, None] * functional.normalize(self.mean, dim=1, eps=1e-300)
        squares = (centres**2).sum(dim=1)
        # |centre + feature|^2 without a tensor of shape [N, C, D].
        both = squares + 2 * scaled @ centres.T + (scaled**2).sum(dim=1, keepdim=True)
        found = log_bessel_ratio(both.clamp(min=0), self.order)
        return found - log_bessel_ratio(squares, self.order)

    def forward(
        self, features: Tensor, labels: Tensor, *, log_prior: Tensor, temperature: float
    ) -> Tensor:
        """Take the features into the statistics, then compare them with all classes.

        Args:
            features: Features of one view, [N, D] float.
            labels: Their classes, [N] int64.
            log_prior: Natural logarithms of the class shares, [C].
            temperature: Divides the features; unitless, above 0.

        Returns:
            Mean cross entropy of the logits plus `log_prior`, in nats, 0-d float64.
        """
        self.update(features.detach(), labels)
        return functional.cross_entropy(self.logits(features, temperature) + log_prior, labels)
