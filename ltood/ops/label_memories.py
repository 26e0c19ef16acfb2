"""Labels that stand for their text and for images like them, weighted by nearness to a query."""

import torch
from torch import Tensor

#: Most numbers of weights [rows, labels, slots] held at once; bounds memory, not results.
CHUNK_VALUES = 2**24


class LabelMemories:
    """Texts of labels, and for each label the images of lowest entropy that were added.

    A label's proxy for a query f is p = sum over its members m of exp(-beta (1 - cos(f, m))) m.
    With s the cosines of f and the members, w their weights and G the members' Gram matrix,
    cos(f, p) = w s / sqrt(w G w), so that no proxy is ever made. A label without images is its
    text.
    """

    def __init__(self, texts: Tensor, slots: int, beta: float) -> None:
        """Begin without images.

        Args:
            texts: Unit vectors of the labels, [K, D].
            slots: Images that each label keeps.
            beta: How fast weights fall with the distance.
        """
        self._texts, self._slots, self._beta = texts, slots, beta
        self._rows = texts[:0]
        self._labels = torch.zeros(0, dtype=torch.int64, device=texts.device)
        self._entropies = texts.new_empty(0)
        self._active = self._labels
        self._members, self._grams = texts.new_empty(0, slots + 1, texts.shape[1]), texts[:0, :0]

    def add(self, rows: Tensor, labels: Tensor, entropies: Tensor) -> None:
        """Offer images to labels; of equal entropies the earlier one stays.

        Args:
            rows: Unit features, [N, D].
            labels: Label of each, [N] in [0, K).
            entropies: [N].
        """
        rows = torch.cat([self._rows, rows])
        labels, entropies = (
            torch.cat(pair) for pair in ((self._labels, labels), (self._entropies, entropies))
        )
        order = torch.argsort(entropies, stable=True)
        order = order[torch.argsort(labels[order], stable=True)]
        counts = torch.bincount(labels, minlength=len(self._texts))
        ranks = (
            torch.arange(len(order), device=order.device)
            - (counts.cumsum(0) - counts)[labels[order]]
        )
        kept = order[ranks < self._slots].sort().values
        self._rows, self._labels, self._entropies = rows[kept], labels[kept], entropies[kept]
        self._arrange()

    def _arrange(self) -> None:
        """Members of each label with images, [A, 1 + slots, D], and their Gram matrices."""
        order = torch.argsort(self._labels, stable=True)
        self._active, counts = torch.unique_consecutive(self._labels[order], return_counts=True)
        place = torch.repeat_interleave(torch.arange(len(counts), device=order.device), counts)
        slot = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[place]
        shape = (len(self._active), self._slots + 1, self._texts.shape[1])
        self._members = self._texts.new_zeros(shape)
        self._members[:, 0] = self._texts[self._active]
        # A zero row has no part in any sum: its own cosines are 0.
        self._members[place, slot + 1] = self._rows[order]
        self._grams = self._members @ self._members.transpose(1, 2)

    def cosines(self, rows: Tensor) -> Tensor:
        """Cosines of rows and the proxies of all labels, [N, K].

        Args:
            rows: Unit features, [N, D].
        """
        found = rows @ self._texts.T
        step = max(1, CHUNK_VALUES // max(1, len(rows) * (self._slots + 1)))
        for start in range(0, len(self._active), step):
            members = self._members[start : start + step]
            near = torch.einsum("nd,asd->nas", rows, members)
            weights = torch.exp(self._beta * (near - 1))
            along = (weights * near).sum(dim=2)
            square = torch.einsum("nas,ast->nat", weights, self._grams[start : start + step])
            length = (square * weights).sum(dim=2).clamp(min=0).sqrt()
            found[:, self._active[start : start + step]] = along / length.clamp(min=1e-12)
        return found
