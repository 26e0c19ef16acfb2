"""Array aliases with their shapes, and the batch that methods receive.

Shapes: N rows, D features, C classes, P local patches, e extra head outputs.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from ltood.core.checks import check_classes, check_finite, check_rows
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.prior import ClassPrior

Features = Annotated[Tensor, "[N, D] float32"]
Logits = Annotated[Tensor, "[N, C] float32"]
Labels = Annotated[Tensor, "[N] int64, -1 for OOD"]
Ids = Annotated[Tensor, "[N] int64, row number in the dataset's manifest"]
LocalFeatures = Annotated[Tensor, "[N, P, D] float32"]
Scores = Annotated[Tensor, "[N] float32, higher means more OOD"]

T = TypeVar("T")

#: Rows that are read and scored at once; bounds memory, not results.
BATCH_ROWS = 8192

#: Where a batch of plain tensors keeps the names of arrays whose numbers nobody has looked at.
_UNPROVED = object()


class Need(enum.Enum):
    """What a method needs beyond the rows it scores; checked before reading anything."""

    TRAIN = "training features"
    AUX = "auxiliary outlier features (split aux)"
    HEAD = "the classifier head"
    PRIOR = "class counts of the training set"
    LOCAL = "local features"
    EXTRA = "a detector node beside the classes (extra_weight in the head)"
    NORM = "the last batch-norm layer's weight and bias (bn_weight, bn_bias in the head)"


@dataclass(frozen=True)
class FeatureBatch:
    """Rows of one split, aligned; arrays that were not asked for are absent.

    Build it with keyword arguments; read it through the properties, which raise a
    clear error for an absent array. The tensors are shared with caches: never
    change them in place.
    """

    features_: Tensor | None = None
    logits_: Tensor | None = None
    labels_: Tensor | None = None
    ids_: Tensor | None = None
    local_: Tensor | None = None
    extra_: Tensor | None = None
    _shared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that all arrays have the same number of rows."""
        named = {
            "features": self.features_,
            "logits": self.logits_,
            "labels": self.labels_,
            "ids": self.ids_,
            "local": self.local_,
            "extra": self.extra_,
        }
        rows = {name: len(tensor) for name, tensor in named.items() if tensor is not None}
        if not rows:
            raise DataError("a batch needs at least one array.")
        if len(set(rows.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise DataError(f"rows differ ({listed}); read all arrays from the same split.")

    @classmethod
    def of(
        cls,
        features: Tensor | None = None,
        logits: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        ids: Tensor | None = None,
        local: Tensor | None = None,
        extra: Tensor | None = None,
        head: ClassifierHead | None = None,
    ) -> "FeatureBatch":
        """Build a batch from plain tensors; logits come from `head` where not given.

        Whether all numbers are finite is seen when an array is first read: a score of logits
        alone need not wait until all features have been looked at.

        Raises:
            DataError: If a shape does not fit, or logits are to be made of NaN or infinity.
        """
        width = None if head is None else head.dim
        check_rows(features, "features", "[N, D]", width)
        check_rows(logits, "logits", "[N, C]", None if head is None else head.num_classes)
        check_rows(local, "local features", "[N, P, D]", width)
        check_rows(extra, "extra logits", "[N, e]", None)
        batch = cls(features, logits, labels, ids, local, extra)
        given = {"features": features, "logits": logits, "local features": local}
        given["extra logits"] = extra
        batch._shared[_UNPROVED] = {name for name in given if given[name] is not None}
        if head is None or features is None:
            return batch
        rows = batch.features
        return replace(
            batch,
            logits_=head.logits(rows) if logits is None else logits,
            extra_=head.extra_logits(rows) if extra is None else extra,
        )

    def prove(self) -> Self:
        """Look at all numbers that nobody has looked at yet.

        Raises:
            DataError: If one is NaN or infinite.
        """
        if self._shared.get(_UNPROVED):
            for name, tensor in (
                ("features", self.features_),
                ("logits", self.logits_),
                ("local features", self.local_),
                ("extra logits", self.extra_),
            ):
                self._prove(tensor, name)
        return self

    def _prove(self, tensor: Tensor | None, name: str) -> None:
        unproved: set[str] = self._shared.get(_UNPROVED, set())
        if tensor is not None and name in unproved:
            check_finite(tensor, name)
            unproved.discard(name)

    def _read(self, tensor: Tensor | None, name: str) -> Tensor:
        """An array that must be there, float32, proved and without its gradients."""
        self._prove(tensor, name)
        # Features fresh from a network may drag its gradients along; no score needs them.
        return _present(tensor, name).detach().float()

    def __len__(self) -> int:
        """Number of rows N."""
        for tensor in (self.features_, self.logits_, self.labels_, self.ids_, self.local_):
            if tensor is not None:
                return len(tensor)
        assert self.extra_ is not None
        return len(self.extra_)

    @property
    def features(self) -> Features:
        """Pooled penultimate features, [N, D] float32."""
        return self._read(self.features_, "features")

    @property
    def logits(self) -> Logits:
        """Class logits, [N, C] float32."""
        return self._read(self.logits_, "logits")

    @property
    def labels(self) -> Labels:
        """Class labels, [N] int64; -1 for OOD rows."""
        return _present(self.labels_, "labels")

    @property
    def ids(self) -> Ids:
        """Row numbers in the dataset, [N] int64."""
        return _present(self.ids_, "ids")

    @property
    def local(self) -> LocalFeatures:
        """Local features of each patch, [N, P, D] float32."""
        return self._read(self.local_, "local features")

    @property
    def extra(self) -> Tensor:
        """Outputs of the detector nodes beside the classes, [N, e] float32."""
        return self._read(self.extra_, "extra logits")

    def slice(self, start: int, stop: int) -> "FeatureBatch":
        """Rows `start` to `stop` as views of the same memory; see `prove`."""
        self.prove()

        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[start:stop]

        return FeatureBatch(
            cut(self.features_),
            cut(self.logits_),
            cut(self.labels_),
            cut(self.ids_),
            cut(self.local_),
            cut(self.extra_),
        )

    def once(self, key: object, compute: Callable[[], T]) -> T:
        """Compute a value of this batch once and share it among methods.

        Args:
            key: Names the value and everything it depends on.
            compute: Gives the value; called at most once per key.
        """
        if key not in self._shared:
            self._shared[key] = compute()
        shared: T = self._shared[key]
        return shared


def _present(tensor: Tensor | None, name: str) -> Tensor:
    if tensor is None:
        raise MissingNeedError(
            f"this batch holds no {name}; the method must list them in `arrays`, "
            "and the store must hold them."
        )
    return tensor


class FeatureSource(Protocol):
    """Rows that can be read again and again, in batches: a stored split or tensors."""

    @property
    def dim(self) -> int:
        """Feature width D."""

    @property
    def num_classes(self) -> int:
        """Number of classes C."""

    def __len__(self) -> int:
        """Number of rows N."""

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""


class TensorSource:
    """Rows held in memory as tensors; what plain Python callers pass to `fit`."""

    def __init__(self, batch: FeatureBatch, num_classes: int) -> None:
        """Wrap one batch; `num_classes` is the number of classes C."""
        self._batch = batch
        self._num_classes = num_classes

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._batch.features.shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._num_classes

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._batch)

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield slices (views) of the tensors in order; `arrays` is only a lower bound."""
        del arrays
        for start in range(0, len(self._batch), rows):
            yield self._batch.slice(start, start + rows)


@dataclass(frozen=True)
class FitInputs:
    """Everything a method may learn from; absent parts are None.

    Attributes:
        train: Training rows of the ID classes.
        aux: Auxiliary outliers, never an OOD test set.
        head: Classifier head.
        prior: Training class counts.
    """

    train: FeatureSource | None = None
    aux: FeatureSource | None = None
    head: ClassifierHead | None = None
    prior: ClassPrior | None = None
    _shared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        features: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        head: ClassifierHead | None = None,
        prior: ClassPrior | None = None,
        aux: Tensor | None = None,
        logits: Tensor | None = None,
        num_classes: int | None = None,
    ) -> "FitInputs":
        """Build inputs from plain tensors.

        Args:
            features: Training features, [N, D].
            labels: Their classes, [N] int64.
            head: Classifier head; gives the logits where they are not given.
            prior: Class counts; counted from `labels` where not given.
            aux: Auxiliary outlier features, [M, D].
            logits: Training logits, [N, C].
            num_classes: C; taken from the head or the largest label where not given.

        Raises:
            DataError: If a shape does not fit, a number is NaN or infinite, a label is no class,
                or the prior has another number of classes.
        """
        if num_classes is None:
            if head is not None:
                num_classes = head.num_classes
            elif logits is not None:
                num_classes = logits.shape[1]
            elif labels is not None and len(labels):
                num_classes = int(labels.max()) + 1
            else:
                num_classes = 0
        if labels is not None:
            labels = check_classes(labels, num_classes)
        if prior is not None and num_classes not in (0, prior.num_classes):
            raise DataError(
                f"the prior has {prior.num_classes} classes but there are {num_classes}; give one "
                "count for each class."
            )
        train = None
        if features is not None or logits is not None:
            batch = FeatureBatch.of(features, logits, labels=labels, head=head)
            train = TensorSource(batch.prove(), num_classes)
        if prior is None and labels is not None:
            prior = ClassPrior(torch.bincount(labels.cpu(), minlength=num_classes).numpy())
        outliers = None
        if aux is not None:
            outliers = TensorSource(FeatureBatch.of(aux, head=head).prove(), num_classes)
        return cls(train, outliers, head, prior)

    def require_train(self) -> FeatureSource:
        """Training rows, or a clear error."""
        return _given(self.train, Need.TRAIN)

    def require_aux(self) -> FeatureSource:
        """Auxiliary outlier rows, or a clear error."""
        return _given(self.aux, Need.AUX)

    def require_head(self) -> ClassifierHead:
        """Classifier head, or a clear error."""
        return _given(self.head, Need.HEAD)

    def require_prior(self) -> ClassPrior:
        """Class counts, or a clear error."""
        return _given(self.prior, Need.PRIOR)

    def once(self, key: object, compute: Callable[[], T]) -> T:
        """Compute a statistic of these inputs once and share it among methods.

        Args:
            key: Names the statistic and every parameter it depends on, so that a
                changed parameter can never meet a stale value.
            compute: Gives the value; called at most once per key.
        """
        if key not in self._shared:
            self._shared[key] = compute()
        shared: T = self._shared[key]
        return shared


def _given(value: T | None, need: Need) -> T:
    if value is None:
        raise MissingNeedError(f"fit needs {need.value}, which it was not given.")
    return value
