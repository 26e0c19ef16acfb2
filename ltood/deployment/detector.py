"""The deployed detector: all fitted slots, the head and a threshold, ready for new rows.

Rows go the way they go in `ltood score`: calibrate, logits from the head, score,
normalise. The verdict is exact: a row is ID where `score <= threshold`, else OOD.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ltood.core.batches import BATCH_ROWS, FeatureBatch
from ltood.core.errors import DataError, LtoodError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.scoring.sources import calibrated, to_tensor

#: Training classes that are named with a verdict.
NUM_NEAREST = 3
#: Bad rows that a message lists.
_LISTED = 5

Rows = Tensor | NDArray[Any]


class NotFiniteScoresError(LtoodError):
    """Scores of some rows are not finite.

    Attributes:
        rows: Numbers of these rows in the call, as far as it got.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        """Say `message`, and remember the rows."""
        super().__init__(message)
        self.rows = list(rows)


@dataclass(frozen=True)
class Predictions:
    """What the detector says about N rows.

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
        """Where scores are computed."""
        return self.head.weight.device

    @property
    def needs_local(self) -> bool:
        """Whether the method reads local features."""
        return "local" in self.method.arrays

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
        """Rows that were checked once, as the method sees them; at least one batch."""
        rows = self._checked(features)
        patches = self._checked_local(local, len(rows))
        ids = torch.arange(len(rows), device=rows.device)
        for start in range(0, len(rows), BATCH_ROWS) or range(1):
            part = slice(start, start + BATCH_ROWS)
            arrays = {
                "features": rows[part],
                "local": None if patches is None else patches[part],
                "ids": ids[part],
            }
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

    def _checked(self, features: Rows) -> Tensor:
        """Features as [N, D] float32 on the detector's device, or a clear error."""
        rows = _as_tensor(features, "features", self.device)
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
        _refuse_not_finite(rows, "features")
        return rows

    def _checked_local(self, local: Rows | None, rows: int) -> Tensor | None:
        """Local features as [N, P, D] float32, or a clear error; None if nobody reads them."""
        if not self.needs_local:
            return None
        if local is None:
            raise MissingNeedError(
                f"method {self.description['method']['name']} reads local features, and none were "
                "given; pass local=[N, P, D], or export a detector with another method."
            )
        patches = _as_tensor(local, "local features", self.device)
        if patches.ndim == 2 and rows == 1:
            patches = patches[None]
        if patches.ndim != 3 or len(patches) != rows:
            raise DataError(
                f"local features have shape {list(patches.shape)} for {rows} rows of features; "
                "they must be [N, P, D] with the same N."
            )
        _refuse_not_finite(patches.flatten(1), "local features")
        return patches


def _as_tensor(rows: Rows, what: str, device: torch.device) -> Tensor:
    """Numbers as a float32 tensor on `device`; shares memory where it can."""
    if isinstance(rows, Tensor):
        return rows.detach().to(device).float()
    values = np.asarray(rows)
    if values.dtype.kind not in "fiu":
        raise DataError(f"{what} are {values.dtype}; they must be numbers.")
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return to_tensor(native, device).float()


def _refuse_not_finite(rows: Tensor, what: str) -> None:
    bad = ~torch.isfinite(rows).all(dim=1)
    if bad.any():
        numbers = bad.nonzero().flatten().tolist()
        raise DataError(
            f"{what} of rows {listed(numbers)} hold NaN or infinity ({len(numbers)} such rows); "
            "every value must be finite. Leave these rows out or extract them again."
        )


def listed(items: Sequence[object]) -> str:
    """The first few of some rows, for a message."""
    shown = ", ".join(map(str, items[:_LISTED]))
    return f"{shown}, …" if len(items) > _LISTED else shown
