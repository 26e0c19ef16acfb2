"""Class means of the training features by predicted class, in one pass over rows in batches."""

from typing import Literal

import torch
from torch import Tensor

from ltood.core.crew import Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.statistics import WIDE_ROWS, ClassStatistics, class_statistics

#: Which training rows make the mean of a class: those predicted as it, or those labelled so.
Means = Literal["predicted", "label"]


def predicted_statistics(inputs: FitInputs) -> ClassStatistics:
    """Counts and feature sums of the training rows by predicted class, once per `inputs`.

    Args:
        inputs: What there is to learn from; needs the training rows, with logits.

    Raises:
        MissingNeedError: If there are no training rows, or neither logits nor a head.
        DataError: If there is not one row.
    """
    source, crew = inputs.require_train(), inputs.crew

    def of_own() -> Seen:
        counts = sums = None
        for batch in crew.batches(source, ("features", "logits")):
            features, predictions = batch.features, batch.logits.argmax(dim=1)
            num_classes = batch.logits.shape[1]
            if counts is None or sums is None:
                counts = predictions.new_zeros(num_classes)
                sums = features.new_zeros((num_classes, source.dim), dtype=torch.float64)
            counts += torch.bincount(predictions, minlength=num_classes)
            blocks = zip(
                torch.split(features, WIDE_ROWS), torch.split(predictions, WIDE_ROWS), strict=True
            )
            for rows, classes in blocks:
                sums.index_add_(0, classes, rows.double())
        return None if counts is None or sums is None else (counts, sums)

    def compute() -> ClassStatistics:
        seen = crew.summed(of_own)
        if seen is None:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        return ClassStatistics(*seen)

    return inputs.cached("predicted_statistics", compute)


def class_means(inputs: FitInputs, means: Means) -> Tensor:
    """Mean training feature of each class, [C, D] float32, without a gap.

    Rare classes are often never predicted, and then have no mean by prediction: such a class
    gets its mean by label, and one without either the mean of all rows. By label it is the other
    way round.

    Args:
        inputs: What there is to learn from; needs the training rows, with logits.
        means: Which rows make the mean of a class.

    Raises:
        MissingNeedError: If there are no training rows, or neither logits nor a head.
        DataError: If a training label is not a valid class or there are no rows.
    """

    def compute() -> Tensor:
        first, second = predicted_statistics(inputs), class_statistics(inputs)
        if means == "label":
            first, second = second, first
        chosen = torch.where(first.present[:, None], first.means, second.means)
        has_rows = (first.present | second.present)[:, None]
        return torch.where(has_rows, chosen, first.mean).float()

    return inputs.cached(("class_means", means), compute)
