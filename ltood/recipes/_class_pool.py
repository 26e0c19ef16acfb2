"""The latest features of every class, and distances to their Gaussian while a net is trained.

Source: Liu et al., "Rethinking Out-of-Distribution Detection on Imbalanced Data Distribution",
NeurIPS 2024 (arXiv:2407.16430), the ID feature pool of its Mahalanobis detector. Departures:
classes keep as many rows as they have images and not as many as the largest class, so that the
pool is full after one epoch instead of after most of the training; its moments are updated by
what comes and goes instead of computed again at every step. All are buffers, so that a resumed
run continues with them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ltood.ops.gaussian import mahalanobis, triangular_whitening

#: Added to the diagonal of the covariance, in squared feature units; the published value.
RIDGE = 1e-4


class ClassPool(nn.Module):
    """First in, first out within each class.

    Attributes:
        queue: Features of class y in the rows from start[y] on, [sum of capacities + 1, D]; the
            last row takes what is not kept and stays zero.
        seen: Rows of each class that ever came, [C] int64.
        sums: Sum of the rows kept of each class, [C, D] float64.
        products: Sum of f f^T over all rows kept, [D, D] float64.
        capacity: Most rows of each class, [C] int64.
        start: First row of each class in the queue, [C] int64.
        ready_counts: Rows of each class that `ready` asks for, [C] int64.
        ready_rows: Rows in all that `ready` asks for.
    """

    queue: Tensor
    seen: Tensor
    sums: Tensor
    products: Tensor
    capacity: Tensor
    start: Tensor
    ready_counts: Tensor

    def __init__(
        self, capacity: Sequence[int], dim: int, *, ready_counts: Sequence[int] | None = None
    ) -> None:
        """Start empty.

        Args:
            capacity: Most rows of each class, C numbers of 1 or more.
            dim: Feature width D.
            ready_counts: Rows of each class that `ready` asks for; by default two, or one where
                no more can be kept.
        """
        super().__init__()
        most = torch.tensor(capacity, dtype=torch.int64)
        total = int(most.sum())
        self.register_buffer("capacity", most)
        self.register_buffer("start", most.cumsum(0) - most)
        wanted = most.clamp(max=2) if ready_counts is None else torch.tensor(ready_counts)
        self.register_buffer("ready_counts", wanted)
        self.ready_rows = min(dim + 1, total)
        self.register_buffer("queue", torch.zeros(total + 1, dim))
        self.register_buffer("seen", torch.zeros_like(most))
        self.register_buffer("sums", torch.zeros(len(most), dim, dtype=torch.float64))
        self.register_buffer("products", torch.zeros(dim, dim, dtype=torch.float64))

    @property
    def counts(self) -> Tensor:
        """Rows kept of each class, [C] int64."""
        return torch.minimum(self.seen, self.capacity)

    def ready(self) -> bool:
        """Whether there are rows enough of every class, and in all more than dimensions.

        A pool that can never hold more rows than there are dimensions is ready when full.
        """
        counts = self.counts
        enough = (counts >= self.ready_counts).all() & (counts.sum() >= self.ready_rows)
        return bool(enough)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, *, first_only: bool = False) -> None:
        """Take rows in, and drop the oldest of classes that are full.

        Args:
            features: [N, D].
            labels: Their classes, [N] int64.
            first_only: Take the first row of each class only, as the released code does.
        """
        members = torch.nn.functional.one_hot(labels, len(self.capacity))
        came = members.sum(dim=0)
        rank = (members.cumsum(dim=0) - 1).gather(1, labels[:, None])[:, 0]
        if first_only:
            came, kept = came.clamp(max=1), rank == 0
        else:
            kept = rank >= (came - self.capacity)[labels]
        # Whatever is not kept is written as zeros to the spare row: no shape depends on data, so
        # a GPU need not report back.
        slots = self.start[labels] + (self.seen[labels] + rank) % self.capacity[labels]
        slots = slots.where(kept, len(self.queue) - 1)
        new = features.to(self.queue.dtype) * kept[:, None]
        old = self.queue[slots]
        self.queue[slots] = new
        self.seen += came
        # Both in float64, in which what was added is taken away again.
        new, old = new.double(), old.double()
        self.sums.index_add_(0, labels, new - old)
        self.products += new.T @ new - old.T @ old

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Class means [C, D] and the covariance around them [D, D], both float64.

        The covariance divides by the number of rows and has no ridge yet. A class without rows
        has the mean 0.
        """
        counts = self.counts.double().clamp(min=1)
        means = self.sums / counts[:, None]
        within = self.products - means.T @ self.sums
        return means, within / self.counts.sum().clamp(min=1)

    def min_distances(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distance of each row to its nearest class mean, [N].

        Args:
            features: [N, D]; the gradient goes into them, the pool is constant.

        Returns:
            Distances, 0 or more, in the dtype of `features`; zeros until the pool is ready.
        """
        if not self.ready():
            return features.new_zeros(len(features))
        means, covariance = self.gaussian()
        whitening = triangular_whitening(covariance, RIDGE)
        return mahalanobis(features, whitening, means @ whitening).to(features.dtype)
