"""The three slots of stage two: calibrator, method and normaliser."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.arrays import Rows, as_rows, check_finite
from ltood.core.batches import BATCH_ROWS, FeatureBatch, Features, LocalFeatures, Logits, Scores
from ltood.core.entry import C, Entry
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.inputs import FitInputs, Need

ManyScores = Annotated[Tensor, "[S, N] float32, one row per setting, higher means more OOD"]


class Method(Entry[C], ABC):
    """A post-hoc OOD score on cached features."""

    arrays: tuple[str, ...] = ("features", "logits")

    @overload
    def score(
        self,
        features: FeatureBatch | Tensor,
        *,
        logits: Rows | None = ...,
        local: Rows | None = ...,
        extras: Mapping[str, Rows] | None = ...,
    ) -> Tensor: ...
    @overload
    def score(
        self,
        features: NDArray[Any] | Sequence[Any],
        *,
        logits: Rows | None = ...,
        local: Rows | None = ...,
        extras: Mapping[str, Rows] | None = ...,
    ) -> NDArray[np.float32]: ...
    @overload
    def score(
        self,
        features: None = None,
        *,
        logits: Rows | None = ...,
        local: Rows | None = ...,
        extras: Mapping[str, Rows] | None = ...,
    ) -> Any: ...  # noqa: ANN401
    def score(
        self,
        features: FeatureBatch | Rows | None = None,
        *,
        logits: Rows | None = None,
        local: Rows | None = None,
        extras: Mapping[str, Rows] | None = None,
    ) -> Any:
        """OOD scores, [N] float32; higher means more OOD.

        Args:
            features: Features, [N, D]; tensor, NumPy array or nested lists. Or a
                `FeatureBatch`, whose intermediate values several methods then share.
            logits: Logits, [N, C]; made by the head that `fit` was given where not given.
            local: Local features, [N, P, D], for methods that read them.
            extras: Extra arrays by names such as "odin/features", for methods that read them.

        Returns:
            A tensor on the device of a tensor that was given, else a NumPy array.

        Raises:
            DataError: If a shape does not fit, or a number or a score is not finite.
            MissingNeedError: If an array is missing that this method reads.
            NotFittedError: If `fit` has not run and the method learns something.
        """
        if isinstance(features, FeatureBatch):
            scores = self._score(self._same_widths(features))
            return self._handed_back(scores, scores, "scores")
        batch = self._batch(features, logits, local, extras=extras)
        starts = range(0, len(batch), BATCH_ROWS) or range(1)
        parts = [self._score(batch.slice(start, start + BATCH_ROWS)) for start in starts]
        given = first_given(features, logits, local, *(extras or {}).values())
        return self._handed_back(given, torch.cat(parts), "scores")

    @abstractmethod
    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores of the rows of `batch`, [N] float32; higher means more OOD."""

    def explain(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Columns that say what a score comes from, [N] each, by name; none by default.

        Args:
            batch: Rows that are scored; holds the method's `arrays`.
        """
        del batch
        return {}

    @classmethod
    def score_many(cls, methods: Sequence[Self], batch: FeatureBatch) -> ManyScores:
        """Score one batch with many settings of this method, as a sweep does.

        This default scores one after the other, which shares whatever they keep in
        `batch.cached`. A method overrides it where settings share more, such as logits;
        row s must still equal `methods[s]._score(batch)`.

        Args:
            methods: S instances, fitted on the same inputs, with any settings.
            batch: Rows to score; holds the method's `arrays`.

        Returns:
            Scores, [S, N] float32; higher means more OOD.
        """
        return torch.stack([method._score(batch) for method in methods])


class Calibrator(Entry[C], ABC):
    """Maps features to features, and logits to logits, before a method sees them.

    Attributes:
        train_split: Split that `fit` learns from; only a switch named `official_*`
            may choose another than train.
    """

    train_split: str = "train"

    @overload
    def transform(self, features: Tensor) -> Tensor: ...
    @overload
    def transform(self, features: NDArray[Any] | Sequence[Any]) -> NDArray[np.float32]: ...
    def transform(self, features: Rows) -> Any:
        """Calibrated features, [N, D] float32, as the kind of array that was given."""
        batch = self._batch(features, None, None, use_head=False)
        return self._handed_back(features, self._transform(batch.features), "features")

    @overload
    def transform_local(self, local: Tensor) -> Tensor: ...
    @overload
    def transform_local(self, local: NDArray[Any] | Sequence[Any]) -> NDArray[np.float32]: ...
    def transform_local(self, local: Rows) -> Any:
        """Calibrated local features, [N, P, D] float32, as the kind that was given."""
        batch = self._batch(None, None, local, use_head=False)
        return self._handed_back(local, self._transform_local(batch.local), "local features")

    @overload
    def adjust_logits(self, logits: Tensor) -> Tensor: ...
    @overload
    def adjust_logits(self, logits: NDArray[Any] | Sequence[Any]) -> NDArray[np.float32]: ...
    def adjust_logits(self, logits: Rows) -> Any:
        """Calibrated logits, [N, C] float32, as the kind that was given."""
        batch = self._batch(None, logits, None)
        return self._handed_back(logits, self._adjust_logits(batch.logits), "logits")

    @abstractmethod
    def _transform(self, features: Features) -> Features:
        """Calibrated features, [N, D] float32; the input is left unchanged."""

    def _transform_local(self, local: LocalFeatures) -> LocalFeatures:
        """Calibrated local features, [N, P, D]: patches meet the same head as whole images."""
        return self._transform(local.flatten(0, 1)).reshape(local.shape)

    def _adjust_logits(self, logits: Logits) -> Logits:
        """Calibrated logits, [..., C]; the same by default.

        May add one constant to each class, nothing else: the driver applies it to the
        bias, so that a method sees the same logits in the batch and from the head.
        """
        return logits


class Normaliser(Entry[C], ABC):
    """Maps scores to scores after a method; learns from the prior and the head only.

    Attributes:
        base: Name of the method whose scores come in.
        wants_default_base: Whether that method must have its default settings.
    """

    arrays: tuple[str, ...] = ("logits",)
    wants_default_base: bool = False

    def __init__(
        self,
        config: C | None = None,
        /,
        *,
        base: str,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        """Take the settings and the name of the method whose scores come in."""
        self.base = base
        super().__init__(config, **settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings and `base` by name, for scikit-learn; see `Entry`."""
        return {"base": self.base, **super().get_params(deep)}

    def __repr__(self) -> str:
        """Class, method and settings, such as `ImOOD(base='energy', tau=1.0)`."""
        inner = super().__repr__().partition("(")[2]
        comma = "" if inner == ")" else ", "
        return f"{type(self).__name__}(base={self.base!r}{comma}{inner}"

    @overload
    def normalise(
        self,
        scores: Tensor,
        features: FeatureBatch | Rows | None = ...,
        *,
        logits: Rows | None = ...,
    ) -> Tensor: ...
    @overload
    def normalise(
        self,
        scores: NDArray[Any] | Sequence[Any],
        features: FeatureBatch | Rows | None = ...,
        *,
        logits: Rows | None = ...,
    ) -> NDArray[np.float32]: ...
    def normalise(
        self,
        scores: Rows,
        features: FeatureBatch | Rows | None = None,
        *,
        logits: Rows | None = None,
    ) -> Any:
        """Normalised scores, [N] float32; higher means more OOD.

        Args:
            scores: Scores of the method `base`, [N].
            features: Features of the same rows, [N, D], or a `FeatureBatch`.
            logits: Logits, [N, C]; made by the head that `fit` was given where not given.

        Returns:
            A tensor on the device of `scores` if they are a tensor, else a NumPy array.

        Raises:
            DataError: If a shape does not fit, or a number or a score is not finite.
            MissingNeedError: If an array is missing that this normaliser reads.
            NotFittedError: If `fit` has not run and the normaliser learns something.
        """
        if isinstance(features, FeatureBatch):
            batch = self._same_widths(features)
        else:
            batch = self._batch(features, logits, None)
        rows = as_rows(scores, "scores", "[N]")
        assert rows is not None
        check_finite(rows, "scores")
        if len(rows) != len(batch):
            raise DataError(
                f"there are {len(rows)} scores for {len(batch)} rows; give one score per row."
            )
        return self._handed_back(scores, self._normalise(rows.float(), batch), "scores")

    @abstractmethod
    def _normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """Normalised scores, [N] float32; higher means more OOD."""


def first_given(*given: Rows | None) -> Rows | None:
    """The first array that was given."""
    return next((rows for rows in given if rows is not None), None)


def check_needs(
    entry: str,
    needs: frozenset[Need],
    inputs: FitInputs,
    has_local: bool,
    remedies: Mapping[Need, str] = {},
) -> None:
    """Refuse an entry whose needs the inputs do not meet, naming what is missing.

    Args:
        entry: What the user called, such as "method knn".
        needs: The entry's needs.
        inputs: What is there.
        has_local: Whether the store holds local features.
        remedies: What to do about a missing one where there is no store to hold it.

    Raises:
        MissingNeedError: On the first need that is not met.
    """
    head = inputs.head
    present = {
        Need.TRAIN: inputs.train is not None,
        Need.VAL: inputs.val is not None,
        Need.AUX: inputs.aux is not None,
        Need.HEAD: head is not None,
        Need.PRIOR: inputs.prior is not None,
        Need.LOCAL: has_local,
        # Classes of outliers are high for OOD, all other auxiliary outputs for ID.
        Need.AUX_OUTPUTS: head is not None and head.num_aux_outputs > head.num_outlier_classes,
        Need.OUTLIER_CLASSES: head is not None and head.num_outlier_classes > 0,
        Need.NEGATIVES: head is not None and head.negative_weight is not None,
        Need.NO_HEAD: head is not None and head.no_weight is not None,
        Need.NORM: head is not None and head.bn_weight is not None and head.bn_bias is not None,
    }
    for need in sorted(needs, key=lambda item: item.name):
        if not present[need] and need in remedies:
            raise MissingNeedError(f"{entry} needs {need.value}; {remedies[need]}.")
        if not present[need]:
            raise MissingNeedError(
                f"{entry} needs {need.value}, which this store does not hold. "
                "Import or extract them, or choose another entry (`ltood list`)."
            )
