"""The three slots of stage two: calibrator, detector and normaliser.

No entry sees an image, a model, a path, a device name or `params.yaml`. What an
entry learns in `fit` it keeps in tensor attributes whose names end in an
underscore, so that a fitted entry can be saved and restored as plain arrays.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from ltood.core.batches import (
    FeatureBatch,
    Features,
    FitInputs,
    LocalFeatures,
    Logits,
    Need,
    Scores,
)
from ltood.core.errors import MissingNeedError, NotFittedError

ManyScores = Annotated[Tensor, "[S, N] float32, one row per setting, higher means more OOD"]


class Fitted:
    """Saves and restores what was learned: tensor attributes that end in "_"."""

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by name; empty where there is nothing to learn."""
        return {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and isinstance(value, Tensor)
        }

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """Take over learned tensors that `state()` of a fitted twin gave."""
        for name, value in state.items():
            setattr(self, name, value)
        return self

    def learned(self, name: str) -> Tensor:
        """Learned tensor `name`, or an error that says to fit first.

        Raises:
            NotFittedError: If `fit` has not run.
        """
        value = vars(self).get(name)
        if not isinstance(value, Tensor):
            entry = type(self).__module__.rpartition(".")[2]
            raise NotFittedError(f"{entry} is not fitted: call fit(inputs) before score(batch).")
        return value

    def in_use(self) -> dict[str, float]:
        """Values that `fit` derived from data and a reader should see, such as a clip."""
        return {}


class Detector(Fitted, ABC):
    """A post-hoc OOD score on cached features.

    Attributes:
        needs: What must be present; the driver checks it before reading anything. A
            constructor may narrow it to what its settings need.
        arrays: Arrays of a batch that `score` reads; others are not loaded.
    """

    needs: frozenset[Need] = frozenset()
    arrays: ClassVar[tuple[str, ...]] = ("features", "logits")

    def fit(self, inputs: FitInputs) -> Self:
        """Learn from training rows; methods that learn nothing keep this default."""
        del inputs
        return self

    @abstractmethod
    def score(self, batch: FeatureBatch) -> Scores:
        """OOD scores of the rows of `batch`, [N] float32; higher means more OOD."""

    @classmethod
    def score_many(cls, detectors: Sequence[Self], batch: FeatureBatch) -> ManyScores:
        """Score one batch with many settings of this method, as a sweep does.

        This default scores one after the other, which shares whatever they keep in
        `batch.once`. A method overrides it where settings share more, such as logits;
        row s must still equal `detectors[s].score(batch)`.

        Args:
            detectors: S instances, fitted on the same inputs, with any settings.
            batch: Rows to score; holds the method's `arrays`.

        Returns:
            Scores, [S, N] float32; higher means more OOD.
        """
        return torch.stack([detector.score(batch) for detector in detectors])


class Calibrator(Fitted, ABC):
    """Maps features to features, and logits to logits, before a method sees them.

    Attributes:
        needs: What must be present to fit.
        train_split: Split that `fit` learns from; only a switch named `official_*`
            may choose another than train.
    """

    needs: frozenset[Need] = frozenset()
    train_split: str = "train"

    def fit(self, inputs: FitInputs) -> Self:
        """Learn from training rows; calibrators that learn nothing keep this default."""
        del inputs
        return self

    @abstractmethod
    def transform(self, features: Features) -> Features:
        """Calibrated features, [N, D] float32; the input is left unchanged."""

    def transform_local(self, local: LocalFeatures) -> LocalFeatures:
        """Calibrated local features, [N, P, D]: patches meet the same head as whole images."""
        return self.transform(local.flatten(0, 1)).reshape(local.shape)

    def adjust_logits(self, logits: Logits) -> Logits:
        """Calibrated logits, [..., C]; the same by default.

        May add one constant to each class, nothing else: the driver applies it to the
        bias, so that a method sees the same logits in the batch and from the head.
        """
        return logits


class Normaliser(Fitted, ABC):
    """Maps scores to scores after a method; learns from the prior and the head only.

    Attributes:
        needs: What must be present to fit.
        arrays: Arrays of a batch that `normalise` reads; others are not loaded. A constructor
            may widen it to what its settings need.
        wants_default_base: Whether the method must have its default settings.
    """

    needs: frozenset[Need] = frozenset()
    arrays: tuple[str, ...] = ("logits",)
    wants_default_base: bool = False

    def fit(self, inputs: FitInputs) -> Self:
        """Learn from prior and head; normalisers that learn nothing keep this default."""
        del inputs
        return self

    @abstractmethod
    def normalise(self, scores: Scores, batch: FeatureBatch) -> Scores:
        """Normalised scores, [N] float32; higher means more OOD."""


def check_needs(entry: str, needs: frozenset[Need], inputs: FitInputs, has_local: bool) -> None:
    """Refuse an entry whose needs the inputs do not meet, naming what is missing.

    Args:
        entry: What the user called, such as "method knn".
        needs: The entry's needs.
        inputs: What is there.
        has_local: Whether the store holds local features.

    Raises:
        MissingNeedError: On the first need that is not met.
    """
    head = inputs.head
    present = {
        Need.TRAIN: inputs.train is not None,
        Need.AUX: inputs.aux is not None,
        Need.HEAD: head is not None,
        Need.PRIOR: inputs.prior is not None,
        Need.LOCAL: has_local,
        Need.EXTRA: head is not None and head.num_extra > 0,
        Need.NORM: head is not None and head.bn_weight is not None and head.bn_bias is not None,
    }
    for need in sorted(needs, key=lambda item: item.name):
        if not present[need]:
            raise MissingNeedError(
                f"{entry} needs {need.value}, which this store does not hold. "
                "Import or extract them, or choose another entry (`ltood list`)."
            )
