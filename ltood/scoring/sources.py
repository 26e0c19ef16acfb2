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


def calibrated(
    batch: FeatureBatch,
    calibrator: Calibrator | None,
    head: ClassifierHead | None,
    *,
    logits: bool = True,
) -> FeatureBatch:
    """Rows as methods see them: calibrated, with the logits that the head gives for them.

    Args:
        batch: Raw rows; without a calibrator their own logits, where they have some, are kept.
        calibrator: Fitted calibrator, or None.
        head: Classifier head, with its bias as the calibrator adjusts it; None makes no logits.
        logits: Whether the logits or the auxiliary outputs are read.
    """
    if calibrator is None and "logits" in batch.arrays:
        return batch
    arrays = dict(batch.arrays)
    if calibrator is not None:
        for raw in ("logits", "aux_outputs"):
            arrays.pop(raw, None)
        if "features" in arrays:
            arrays["features"] = calibrator._transform(batch.features)
        if "local" in arrays:
            arrays["local"] = calibrator._transform_local(batch.local)
    features = arrays.get("features")
    if logits and head is not None and features is not None:
        arrays |= {"logits": head.logits(features), "aux_outputs": head.aux_outputs(features)}
    return FeatureBatch(arrays)


class StoredSource:
    """One stored split as batches of tensors, calibrated on the way."""

    def __init__(
        self,
        split: SplitReader,
        num_classes: int,
        head: ClassifierHead | None,
        device: torch.device,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Wrap a split.

        Args:
            split: Rows.
            num_classes: Number of classes C.
            head: Classifier head, with its bias as the calibrator adjusts it; without one there
                are no logits.
            device: Where tensors live.
            calibrator: Fitted calibrator; None leaves features and logits as stored.
        """
        self._split = split
        self._num_classes = num_classes
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
        return self._num_classes

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
        recompute = self._calibrator is not None and bool(wanted & {"logits", "aux_outputs"})
        read = (wanted - {"logits", "aux_outputs"}) | ({"features"} if recompute else set())
        has_logits = "logits" in self._split.arrays
        if not recompute and wanted & {"logits", "aux_outputs"} and has_logits:
            read.add("logits")
        widest = sum(self._split.spec.arrays[name].row_bytes for name in read)
        rows = max(1, min(rows, BATCH_BYTES // max(1, widest)))
        for block in self._split.batches(rows, sorted(read)):
            tensors = {name: to_tensor(values, self._device) for name, values in block.items()}
            outputs = tensors.get("logits")
            if outputs is not None:
                tensors["logits"] = outputs[:, : self.num_classes]
                if outputs.shape[1] > self.num_classes:
                    tensors["aux_outputs"] = outputs[:, self.num_classes :]
            batch = FeatureBatch(tensors)
            if self._calibrator is not None:
                batch = calibrated(batch, self._calibrator, self._head, logits=recompute)
            yield batch
