"""Rows of some of the classes, numbered anew, as a source that methods can be fitted on.

Nothing is copied: rows are filtered on the way, batch by batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ltood.core.batches import BATCH_ROWS, FeatureBatch, FeatureSource, WrappedSource
from ltood.core.head import ClassifierHead

#: What a head gives, which is never taken over from rows that another head was for.
_OUTPUTS = {"logits", "aux_outputs"}


class KeptRows(WrappedSource):
    """Rows of the kept classes, with the outputs of a head for these classes."""

    def __init__(
        self,
        source: FeatureSource,
        kept: Tensor | None,
        head: ClassifierHead | None,
        rows: Tensor | None = None,
    ) -> None:
        """Wrap a source.

        Args:
            source: All rows, with their labels.
            kept: Kept classes, [K] int64, where kept[k] becomes class k; None keeps every row and
                its label, as for outliers.
            head: Head of the kept classes; without one there are no outputs.
            rows: Which rows of `source` are there at all, [N] bool; None are all.
        """
        super().__init__(source)
        self._head, self._rows = head, rows
        self._numbers: Tensor | None = None
        if kept is not None:
            self._numbers = torch.full((source.num_classes,), -1, dtype=torch.int64)
            self._numbers[kept.cpu()] = torch.arange(len(kept))
        self._num_classes = source.num_classes if kept is None else len(kept)

    @property
    def num_classes(self) -> int:
        """Number of kept classes K."""
        return self._num_classes

    @cached_property
    def _num_rows(self) -> int:
        return sum(len(batch) for batch in self.batches(arrays=("labels",)))

    def __len__(self) -> int:
        """Number of kept rows."""
        return self._num_rows

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield the kept rows in order, at most `rows` at a time, holding only `arrays`."""
        has_outputs = bool(_OUTPUTS & set(arrays))
        read = {*arrays, "labels"} - _OUTPUTS | ({"features"} if has_outputs else set())
        done = 0
        for batch in self._source.batches(rows, sorted(read)):
            labels, is_kept = self._numbered(batch)
            if self._rows is not None:
                is_kept &= self._rows[done : done + len(batch)].to(is_kept.device)
            done += len(batch)
            if is_kept.any():
                held = {name: batch.arrays.get(name) for name in read} | {"labels": labels}
                chosen = {
                    name: tensor[is_kept] for name, tensor in held.items() if tensor is not None
                }
                yield with_outputs(chosen, self._head) if has_outputs else FeatureBatch(chosen)

    def _numbered(self, batch: FeatureBatch) -> tuple[Tensor | None, Tensor]:
        """New labels of the rows, where they have some, and which rows are kept."""
        labels = batch.arrays.get("labels")
        if self._numbers is None:
            some = next(tensor for tensor in batch.arrays.values() if tensor is not None)
            return labels, torch.ones(len(batch), dtype=torch.bool, device=some.device)
        numbers = self._numbers.to(batch.labels.device)[batch.labels.clamp(min=0)]
        return numbers, (numbers >= 0) & (batch.labels >= 0)


def with_outputs(arrays: Mapping[str, Tensor], head: ClassifierHead | None) -> FeatureBatch:
    """Rows with what `head` gives for their features.

    Args:
        arrays: Features and others by name.
        head: Head; without one there are no outputs.
    """
    if head is None:
        return FeatureBatch(arrays)
    features = arrays["features"].float()
    outputs = {"logits": head.logits(features), "aux_outputs": head.aux_outputs(features)}
    return FeatureBatch({**arrays, **outputs})
