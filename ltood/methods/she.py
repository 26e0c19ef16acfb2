"""SHE: inner product with the stored pattern of the predicted class.

Source: Zhang, Fu, Chen, Du, Li, Wang, Liu, Han and Zhang, "Out-of-Distribution Detection
based on In-Distribution Data Patterns Memorization with Modern Hopfield Energy", ICLR 2023,
the simplified energy. A pattern is the mean of the training features of a class that the
network classifies correctly. Departures, for classes of a long tail: where no row is
classified correctly, the pattern is the mean of all rows of the class; where there is no row
at all, the mean of all training rows.

Formula:
    y = argmax z
    score = -f . s_y,  s_y mean feature of the correctly classified training rows of class y
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.crew import Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.statistics import WIDE_ROWS, check_labels, class_statistics


@dataclass(frozen=True)
class Config(Settings):
    """SHE has no settings."""


class SHE(Method[Config]):
    """Scores rows by the negative of their inner product with a class pattern."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")
    dim_axis: tuple[str, int] = ("patterns_", 1)
    classes_axis: tuple[str, int] = ("patterns_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn one pattern per class."""
        self.patterns_ = class_patterns(inputs).float()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in squared units of features; higher means more OOD."""
        patterns = self.learned("patterns_")
        predicted = torch.split(batch.logits.argmax(dim=1), WIDE_ROWS)
        blocks = zip(torch.split(batch.features, WIDE_ROWS), predicted, strict=True)
        products = [torch.einsum("nd,nd->n", rows, patterns[own]) for rows, own in blocks]
        return -torch.cat(products)


def class_patterns(inputs: FitInputs) -> Tensor:
    """Mean of the correctly classified training features of each class, [C, D] float64.

    Args:
        inputs: What there is to learn from; needs the training rows and their logits.

    Raises:
        MissingNeedError: If there are no training rows.
        DataError: If a training label is not a valid class or there are no rows.
    """
    num = inputs.require_train().num_classes
    seen = inputs.crew.summed(lambda: _right_sums(inputs))
    if seen is None:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    counts, sums = seen[0][:num], seen[1][:num]
    if bool((counts > 0).all()):
        return sums / counts[:, None]
    classes = class_statistics(inputs)
    known = torch.where(classes.present[:, None], classes.means, classes.mean)
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], known)


def _right_sums(inputs: FitInputs) -> Seen:
    """Counts and sums of the rows of each class that this process reads, the wrong ones last."""
    source = inputs.require_train()
    num = source.num_classes
    counts = sums = None
    for batch in inputs.crew.batches(source, ("features", "logits", "labels")):
        check_labels(batch.labels, num)
        # Rows that are wrong go to a row of their own behind the classes.
        own = torch.where(batch.logits.argmax(dim=1) == batch.labels, batch.labels, num)
        if counts is None or sums is None:
            counts = batch.labels.new_zeros(num + 1)
            sums = batch.features.new_zeros((num + 1, source.dim), dtype=torch.float64)
        counts += torch.bincount(own, minlength=num + 1)
        blocks = zip(
            torch.split(batch.features, WIDE_ROWS), torch.split(own, WIDE_ROWS), strict=True
        )
        for rows, places in blocks:
            sums.index_add_(0, places, rows.double())
    return None if counts is None or sums is None else (counts, sums)


Entry = SHE
