"""Evenly spaced rows of a source, for what needs fewer than all."""

from collections.abc import Iterator, Sequence

import torch

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, WrappedSource


class SpacedSource(WrappedSource):
    """Some rows of another source, evenly spaced, in its order.

    The choice needs no random numbers, and of a split that is sorted by class it keeps the
    proportions.
    """

    def __init__(self, source: FeatureSource, rows: int) -> None:
        """Take `rows` rows of `source`, 1 to its number of rows."""
        super().__init__(source)
        self._kept = rows

    def __len__(self) -> int:
        """Number of rows taken."""
        return self._kept

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield the rows in order, at most `rows` at a time, holding at least `arrays`."""
        total, kept, start = len(self._source), self._kept, 0
        for batch in self._source.batches(rows, arrays):
            ranks = torch.arange(start, start + len(batch))
            start += len(batch)
            # Whole numbers only: a product with a fraction would round at the edges.
            chosen = ((ranks + 1) * kept // total > ranks * kept // total).nonzero()[:, 0]
            found = {
                name: tensor[chosen.to(tensor.device)]
                for name, tensor in batch.arrays.items()
                if tensor is not None
            }
            if len(chosen):
                yield FeatureBatch(found)


def spaced(source: FeatureSource, rows: int) -> FeatureSource:
    """The source itself, or evenly spaced rows of it where it has more than `rows`."""
    return source if len(source) <= rows else SpacedSource(source, max(1, rows))


def spaced_share(source: FeatureSource, fraction: float) -> FeatureSource:
    """Evenly spaced rows of a source, a `fraction` of them and one at least."""
    return spaced(source, max(1, round(fraction * len(source))))
