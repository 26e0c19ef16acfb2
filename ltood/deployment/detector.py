"""The deployed detector: all fitted slots, the head and a threshold, ready for new rows.

Rows go the way they go in `ltood score`: calibrate, logits from the head, score,
normalise. The verdict is exact: a row is ID where `score <= threshold`, else OOD.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.arrays import Rows, as_array, as_tensor
from ltood.core.batches import BATCH_ROWS, FeatureBatch, Ids, Labels
from ltood.core.errors import DataError, LtoodError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.ops.calibrated import calibrated
from ltood.scoring.sources import to_tensor

#: Training classes that are named with a verdict.
NUM_NEAREST = 3
#: Bad rows that a message lists.
_LISTED = 5


class NotFiniteScoresError(LtoodError):
    """Scores of some rows are not finite.

    Attributes:
        rows: Numbers of these rows in the call, as far as it got.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        """Take the message and the row numbers."""
        super().__init__(message)
        self.rows = list(rows)


@dataclass(frozen=True)
class Predictions:
    """Predictions of the detector for N rows.

    Attributes:
        scores: OOD scores, [N] float32; higher means more OOD.
        is_ood: Verdicts, [N] bool; true where the score is above the threshold.
        classes: Most likely ID classes, [N] int64; meant for rows that are ID.
        nearest: The training classes whose mean features are most similar, best first,
            [N, 3] int64; fewer columns where fewer classes have training rows.
        similarities: Their cosine similarities, [N, 3] float32, -1 to 1.
    """

    scores: Tensor
    is_ood: Tensor
    classes: Tensor
    nearest: Tensor
    similarities: Tensor

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.scores)


@dataclass(frozen=True)
class DeployedDetector:
    """Fitted calibrator, method and normaliser with head, class means and threshold.

    Attributes:
        method: Fitted method.
        calibrator: Fitted calibrator, or None.
        normaliser: Fitted normaliser, or None.
        head: Classifier head, [C, D].
        class_means: Mean calibrated training feature of each class, [C, D] float32.
        class_rows: Training rows of each class, [C] int64; may hold zeros.
        threshold: Largest score of a row that counts as ID.
        description: Plain values: names, settings, threshold, provenance and versions.
    """

    method: Method
    calibrator: Calibrator | None
    normaliser: Normaliser | None
    head: ClassifierHead
    class_means: Tensor
    class_rows: Tensor
    threshold: float
    description: Mapping[str, Any]

    @property
    def class_names(self) -> list[str]:
        """Names of the ID classes, [C]."""
        return list(self.description["class_names"])

    @property
    def device(self) -> torch.device:
        """Device that computes the scores."""
        return self.head.weight.device

    @property
    def needs_local(self) -> bool:
        """Whether the method reads local features."""
        return "local" in self.method.arrays

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Which rows of the split val a slot has learned from, [N] bool; see `Entry`."""
        learned = self.method.learned_rows(ids, labels)
        for entry in (self.calibrator, self.normaliser):
            if entry is not None:
                learned = learned | entry.learned_rows(ids, labels)
        return learned

    def score(self, features: Rows, *, local: Rows | None = None) -> Tensor:
        """OOD scores, [N] float32; higher means more OOD.

        Args:
            features: Pooled features of the backbone the detector was fitted for, [N, D], or
                [D] for a single row; not calibrated, not normalised.
            local: Local features, [N, P, D]; for methods that read them.

        Raises:
            DataError: If a shape is wrong or a row holds NaN or infinity.
            MissingNeedError: If the method reads local features and none are given.
            NotFiniteScoresError: If a score is not finite.
        """
        read = {*self.method.arrays, *(self.normaliser.arrays if self.normaliser else ())}
        batches = self._batches(features, local, logits=bool(read & {"logits", "aux_outputs"}))
        with torch.inference_mode():
            parts = [self._scores(batch) for batch in batches]
        return torch.cat(parts)

    def predict(self, features: Rows, *, local: Rows | None = None) -> Predictions:
        """Scores, verdicts, classes and nearest training classes; see `score`.

        Raises:
            DataError: If a shape is wrong or a row holds NaN or infinity.
            MissingNeedError: If the method reads local features and none are given.
            NotFiniteScoresError: If a score is not finite.
        """
        with torch.inference_mode():
            parts = [self._predict(batch) for batch in self._batches(features, local, logits=True)]
        return Predictions(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def _batches(
        self, features: Rows, local: Rows | None, *, logits: bool
    ) -> Iterator[FeatureBatch]:
        """Rows as the method sees them, converted and checked batch by batch; at least one."""
        rows, patches = self._shaped(features), None
        if self.needs_local:
            patches = self._shaped_local(local, len(rows))
        for start in range(0, len(rows), BATCH_ROWS) or range(1):
            stop = min(start + BATCH_ROWS, len(rows))
            arrays = {
                "features": _finite(rows[start:stop], "features", self.device, start),
                "ids": torch.arange(start, stop, device=self.device),
            }
            if patches is not None:
                part = patches[start:stop]
                arrays["local"] = _finite(part, "local features", self.device, start)
            yield calibrated(FeatureBatch(arrays), self.calibrator, self.head, logits=logits)

    def _predict(self, batch: FeatureBatch) -> tuple[Tensor, ...]:
        """Columns of `Predictions` for one batch."""
        scores = self._scores(batch)
        nearest, similarities = self._nearest(batch.features)
        return scores, scores > self.threshold, batch.logits.argmax(dim=1), nearest, similarities

    def _scores(self, batch: FeatureBatch) -> Tensor:
        """Normalised scores of one batch, [n] float32; higher means more OOD."""
        if len(batch) == 0:
            return batch.features.new_zeros(0)
        scores = self.method._score(batch)
        if self.normaliser is not None:
            scores = self.normaliser._normalise(scores, batch)
        bad = ~torch.isfinite(scores)
        if bad.any():
            name = self.description["method"]["name"]
            rows = batch.ids[bad].tolist()
            raise NotFiniteScoresError(
                f"method {name} gave {len(rows)} scores that are not finite (rows "
                f"{listed(rows)}); such features lie far outside what the detector was fitted on. "
                "Check that they come from the same backbone.",
                rows,
            )
        return scores

    def _nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Most similar class means, [n, 3], and their cosines; equal ones in class order."""
        cosines = normalize(features, dim=1) @ normalize(self.class_means, dim=1).T
        # A class without training rows has no mean, so it is near to nothing.
        cosines = cosines.clamp(-1, 1).masked_fill(self.class_rows == 0, -torch.inf)
        columns = min(NUM_NEAREST, int((self.class_rows > 0).sum()))
        values, classes = cosines.topk(columns, dim=1)
        # Which of equal values `topk` takes, and in which order, is its own affair.
        tied = (cosines >= values[:, -1:]).sum(dim=1) > columns
        tied |= (values[:, 1:] == values[:, :-1]).any(dim=1)
        if tied.any():
            ranked = cosines[tied].sort(dim=1, descending=True, stable=True)
            classes[tied] = ranked.indices[:, :columns]
        return classes, values

    def _shaped(self, features: Rows) -> Tensor | NDArray[Any]:
        """Features as [N, D] of the right width, or a clear error; nothing is read yet."""
        rows = _sliceable(features, "features")
        if rows.ndim == 1:
            rows = rows[None]
        if rows.ndim != 2:
            raise DataError(
                f"features have shape {list(rows.shape)}; they must be [N, D], or [D] for one row."
            )
        if rows.shape[1] != self.head.dim:
            raise DataError(
                f"features have {rows.shape[1]} columns but the detector was fitted on "
                f"{self.head.dim}; extract them with the backbone the detector belongs to."
            )
        return rows

    def _shaped_local(self, local: Rows | None, rows: int) -> Tensor | NDArray[Any]:
        """Local features as [N, P, D], or a clear error; nothing is read yet."""
        if local is None:
            raise MissingNeedError(
                f"method {self.description['method']['name']} reads local features, and none were "
                "given; pass local=[N, P, D], or export a detector with another method."
            )
        patches = _sliceable(local, "local features")
        if patches.ndim == 2 and rows == 1:
            patches = patches[None]
        if patches.ndim != 3 or len(patches) != rows:
            raise DataError(
                f"local features have shape {list(patches.shape)} for {rows} rows of features; "
                "they must be [N, P, D] with the same N."
            )
        return patches


def _sliceable(rows: Rows, what: str) -> Tensor | NDArray[Any]:
    """Rows that can be read slice by slice: a tensor, or an array that may lie on disk."""
    if isinstance(rows, Tensor | np.ndarray):
        return rows
    # Arrays of Zarr and HDF5 are sliced by row too; a table is not, and has several types.
    if all(hasattr(rows, name) for name in ("dtype", "shape", "ndim", "__getitem__")):
        return cast(NDArray[Any], rows)
    return as_array(rows, what)


def _finite(rows: Tensor | NDArray[Any], what: str, device: torch.device, start: int) -> Tensor:
    """Rows from number `start` on as float32 on `device`, or an error if one is not finite."""
    if isinstance(rows, Tensor):
        found = as_tensor(rows, what).to(device).float()
    else:
        found = to_tensor(np.ascontiguousarray(as_array(rows, what)), device).float()
    bad = ~torch.isfinite(found.flatten(1)).all(dim=1)
    if bad.any():
        numbers = (bad.nonzero().flatten() + start).tolist()
        raise DataError(
            f"{what} of rows {listed(numbers)} hold NaN or infinity ({len(numbers)} such rows); "
            "every value must be finite. Leave these rows out or extract them again."
        )
    return found


def listed(items: Sequence[object]) -> str:
    """The first few of some rows, for a message."""
    shown = ", ".join(map(str, items[:_LISTED]))
    return f"{shown}, …" if len(items) > _LISTED else shown
