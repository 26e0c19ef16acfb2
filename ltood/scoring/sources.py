"""Stored rows as batches of tensors on a device, calibrated on the way.

A calibrator is a view: methods see calibrated features and the logits that the head gives for
them, and no second copy of the features is written.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import BATCH_ROWS, FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator
from ltood.store.features import FeatureSplit

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
    """One stored split as batches of tensors, calibrated on the way."""

    def __init__(
        self,
        split: FeatureSplit,
        head: ClassifierHead,
        device: torch.device,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Wrap a split; `calibrator` None leaves features and logits as stored."""
        self._split = split
        self._head = head
        self._device = device
        self._calibrator = calibrator

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._split.dim

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._head.num_classes

    @property
    def has_local(self) -> bool:
        """Whether the split holds local features."""
        return "local" in self._split.arrays

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._split)

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""
        wanted = set(arrays)
        recompute = self._calibrator is not None and "logits" in wanted
        read = (wanted - {"logits", "extra"}) | ({"features"} if recompute else set())
        if not recompute and wanted & {"logits", "extra"}:
            read.add("logits")
        widest = sum(self._split.spec.arrays[name].row_bytes for name in read)
        rows = max(1, min(rows, BATCH_BYTES // max(1, widest)))
        for block in self._split.batches(rows, sorted(read)):
            tensors = {name: to_tensor(values, self._device) for name, values in block.items()}
            yield self._assemble(tensors, recompute)

    def _assemble(self, tensors: dict[str, Tensor], recompute: bool) -> FeatureBatch:
        features, outputs = tensors.get("features"), tensors.get("logits")
        logits = extra = None
        local = tensors.get("local")
        if features is not None and self._calibrator is not None:
            features = self._calibrator._transform(features)
        if local is not None and self._calibrator is not None:
            local = self._calibrator._transform_local(local)
        if recompute and features is not None:
            logits, extra = self._head.logits(features), self._head.extra_logits(features)
        elif outputs is not None:
            logits = outputs[:, : self.num_classes]
            extra = outputs[:, self.num_classes :] if self._head.num_extra else None
        made = {"features": features, "logits": logits, "local": local, "extra": extra}
        return FeatureBatch({**tensors, **made})
