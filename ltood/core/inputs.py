"""Everything that an entry may learn from, and the names of its parts."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ltood.core.arrays import Rows, as_labels, as_rows, check_classes
from ltood.core.batches import FeatureBatch, FeatureSource, TensorSource
from ltood.core.crew import ALONE, Crew
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.head import ClassifierHead, Head
from ltood.core.prior import ClassPrior, Counts

T = TypeVar("T")


class Need(enum.Enum):
    """Parts that a method may need beyond the rows it scores; checked before reading anything."""

    TRAIN = "training features"
    VAL = "ID rows held out of training (split val)"
    AUX = "auxiliary outlier features (split aux)"
    HEAD = "the classifier head"
    PRIOR = "class counts of the training set"
    LOCAL = "local features"
    AUX_OUTPUTS = "an auxiliary output of the head, such as a detector node (extra_weight)"
    NEGATIVES = (
        "text features of negative labels (negative_weight in the head; see `ltood negatives`)"
    )
    NO_HEAD = 'text features of "no" prompts (no_weight in the head)'
    OUTLIER_CLASSES = "classes of outliers in the head (outlier_classes)"
    NORM = "the last batch-norm layer's weight and bias (bn_weight, bn_bias in the head)"


@dataclass(frozen=True, eq=False)
class FitInputs:
    """Everything a method may learn from; absent parts are None.

    Attributes:
        train: Training rows of the ID classes.
        aux: Auxiliary outliers, never an OOD test set.
        head: Classifier head.
        prior: Training class counts.
        val: Rows of the ID classes held out of training; ids tell them apart.
        beside: Gives the inputs of another feature store by its path; None outside of stores.
        crew: Processes that share the rows.
    """

    train: FeatureSource | None = None
    aux: FeatureSource | None = None
    head: ClassifierHead | None = None
    prior: ClassPrior | None = None
    val: FeatureSource | None = None
    beside: "Callable[[str], FitInputs] | None" = None
    crew: Crew = ALONE
    _shared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        features: "Rows | FeatureBatch | None" = None,
        labels: Rows | None = None,
        *,
        head: Head | None = None,
        prior: Counts | None = None,
        aux: Rows | None = None,
        logits: Rows | None = None,
        local: Rows | None = None,
        val: "Rows | FeatureBatch | None" = None,
        val_labels: Rows | None = None,
        num_classes: int | None = None,
        negatives: Rows | None = None,
    ) -> "FitInputs":
        """Build inputs from plain arrays.

        Args:
            features: Training features, [N, D]; or a batch of training rows with their labels,
                where an entry reads more of them than features.
            labels: Their classes, [N] whole numbers.
            head: Classifier head, a linear layer, or its weight and bias; gives the logits
                where they are not given.
            prior: Class counts; counted from `labels` where not given.
            aux: Auxiliary outlier features, [M, D].
            logits: Training logits, [N, C].
            local: Local training features, [N, P, D].
            val: Features of ID rows held out of training, [V, D]; or a batch of such rows, where
                an entry reads more of them than features.
            val_labels: Their classes, [V] whole numbers.
            num_classes: C; taken from the head, the logits or the largest label where not given.
            negatives: Text features of negative labels, [M, D], which join the head.

        Raises:
            DataError: If a shape does not fit, a number is NaN or infinite, a label is not a
                class, or the prior has another number of classes.
        """
        head = _with_negatives(None if head is None else ClassifierHead.of(head), negatives)
        prior = None if prior is None else ClassPrior.of(prior)
        if isinstance(features, FeatureBatch):
            labels, logits = _of_batch(features, labels, logits, local)
        labels = None if labels is None else as_labels(labels)
        logits = as_rows(logits, "logits", "[N, C]")
        if num_classes is None:
            num_classes = _num_classes(head, logits, labels, prior)
        if labels is not None:
            check_classes(labels, num_classes)
        if prior is not None and num_classes not in (0, prior.num_classes):
            raise DataError(
                f"the prior has {prior.num_classes} classes but there are {num_classes}; give one "
                "count for each class."
            )
        train = None
        if isinstance(features, FeatureBatch):
            train = TensorSource(features.validate(), num_classes)
        elif any(rows is not None for rows in (features, logits, local)):
            batch = FeatureBatch.of(features, logits, labels=labels, local=local, head=head)
            train = TensorSource(batch.validate(), num_classes)
        if prior is None and labels is not None and len(labels):
            prior = ClassPrior(torch.bincount(labels.cpu(), minlength=num_classes).numpy())
        outliers = None
        if aux is not None:
            aux = as_rows(aux, "aux", "[M, D]", None if head is None else head.dim)
            outliers = TensorSource(FeatureBatch.of(aux, head=head).validate(), num_classes)
        held_out = _held_out(val, val_labels, head)
        if held_out is None:
            return cls(train, outliers, head, prior)
        if "labels" in held_out.arrays:
            check_classes(held_out.labels, num_classes, "held-out")
        return cls(train, outliers, head, prior, TensorSource(held_out.validate(), num_classes))

    def require_train(self) -> FeatureSource:
        """Training rows, or a clear error."""
        return _given(self.train, Need.TRAIN)

    def require_aux(self) -> FeatureSource:
        """Auxiliary outlier rows, or a clear error."""
        return _given(self.aux, Need.AUX)

    def require_val(self) -> FeatureSource:
        """ID rows held out of training, or a clear error."""
        return _given(self.val, Need.VAL)

    def require_head(self) -> ClassifierHead:
        """Classifier head, or a clear error."""
        return _given(self.head, Need.HEAD)

    def require_prior(self) -> ClassPrior:
        """Class counts, or a clear error."""
        return _given(self.prior, Need.PRIOR)

    def cached(self, key: object, compute: Callable[[], T]) -> T:
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


def _of_batch(batch: FeatureBatch, *others: Rows | None) -> tuple[Tensor | None, Tensor | None]:
    """Labels and logits of training rows that come as a batch.

    Raises:
        DataError: If arrays of these rows are given beside it.
    """
    if any(rows is not None for rows in others):
        raise DataError(
            "a batch of training rows holds their labels, logits and local features; give none of "
            "these beside it."
        )
    return batch.arrays.get("labels"), batch.arrays.get("logits")


def _with_negatives(head: ClassifierHead | None, negatives: Rows | None) -> ClassifierHead | None:
    """The head with the text features of negative labels, where some are given.

    Raises:
        DataError: If there is no head, the head has its own, or a shape does not fit.
    """
    if negatives is None:
        return head
    if head is None:
        raise DataError(
            "there are negatives without a head; give head=, whose weight holds the text features "
            "of the class names."
        )
    if head.negative_weight is not None:
        raise DataError("the head holds negative_weight; give no negatives too.")
    rows = as_rows(negatives, "negatives", "[M, D]", head.dim)
    assert rows is not None
    return replace(head, negative_weight=rows.to(head.weight.device))


def _held_out(
    val: "Rows | FeatureBatch | None", labels: Rows | None, head: ClassifierHead | None
) -> FeatureBatch | None:
    """Held-out rows as a batch with ids, which are row numbers where there are no others.

    Raises:
        DataError: If a shape does not fit, or there are labels without rows or twice.
    """
    if val is None and labels is not None:
        raise DataError("there are val_labels without rows; give val=, held-out features [V, D].")
    if val is None:
        return None
    if not isinstance(val, FeatureBatch):
        width = None if head is None else head.dim
        rows = as_rows(val, "val", "[V, D]", width)
        assert rows is not None
        ids = torch.arange(len(rows), device=rows.device)
        return FeatureBatch.of(rows, labels=labels, ids=ids, head=head)
    if labels is not None:
        raise DataError("a batch of held-out rows holds its labels; give no val_labels too.")
    if "ids" in val.arrays:
        return val
    some = next(tensor for tensor in val.arrays.values() if tensor is not None)
    return FeatureBatch({**val.arrays, "ids": torch.arange(len(val), device=some.device)})


def _num_classes(
    head: ClassifierHead | None,
    logits: Tensor | None,
    labels: Tensor | None,
    prior: ClassPrior | None,
) -> int:
    """C from the first of these that is given; 0 if none is."""
    if head is not None:
        return head.num_classes
    if logits is not None:
        return logits.shape[1]
    if prior is not None:
        return prior.num_classes
    return int(labels.max()) + 1 if labels is not None and len(labels) else 0


def _given(value: T | None, need: Need) -> T:
    if value is None:
        raise MissingNeedError(f"fit needs {need.value}, which it was not given.")
    return value
