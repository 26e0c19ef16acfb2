"""Stored rows as batches of tensors on a device."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import BATCH_ROWS, FeatureBatch
from ltood.core.crew import Part
from ltood.store.reading import SplitReader

#: Most bytes of one batch on the device; wide rows (local features) get fewer rows.
BATCH_BYTES = 256 * 2**20


def to_tensor(rows: NDArray[Any], device: torch.device) -> Tensor:
    """Tensor on `device`, float32 for any float; shares memory where it can."""
    with warnings.catch_warnings():
        # The array is a read-only view of a copy-on-write map: nothing can reach the file.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(rows)
    tensor = tensor.to(device, non_blocking=True)
    return tensor.float() if tensor.is_floating_point() else tensor


class StoredSource:
    """One stored split as batches of tensors."""

    def __init__(self, split: SplitReader, num_classes: int, device: torch.device) -> None:
        """Wrap a split.

        Args:
            split: Rows.
            num_classes: Number of classes C.
            device: Where tensors live.
        """
        self._split, self._num_classes, self._device = split, num_classes, device

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._split.dim

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._num_classes

    @property
    def has_local(self) -> bool:
        """Whether rows hold local features."""
        return "local" in self._split.arrays

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._split)

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""
        for _, batch in self.numbered(Part(), rows, arrays):
            yield batch

    def numbered(
        self, part: Part, rows: int, arrays: Sequence[str]
    ) -> Iterator[tuple[int, FeatureBatch]]:
        """Yield the batches of a part, each with its first row; see `PartedSource`."""
        read = set(arrays) - {"logits", "aux_outputs"}
        if len(read) < len(set(arrays)) and "logits" in self._split.arrays:
            read.add("logits")
        widest = sum(self._split.spec.arrays[name].row_bytes for name in read)
        rows = max(1, min(rows, BATCH_BYTES // max(1, widest)))
        start, end = part.bounds(len(self), rows)
        limits = () if (start, end) == (0, len(self)) else (start, end)
        for block in self._split.batches(rows, sorted(read), *limits):
            tensors = {name: to_tensor(values, self._device) for name, values in block.items()}
            outputs = tensors.get("logits")
            if outputs is not None:
                tensors["logits"] = outputs[:, : self.num_classes]
                if outputs.shape[1] > self.num_classes:
                    tensors["aux_outputs"] = outputs[:, self.num_classes :]
            batch = FeatureBatch(tensors)
            yield start, batch
            start += len(batch)
