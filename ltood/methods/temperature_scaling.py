"""Temperature scaling: MSP at the temperature that makes probabilities honest.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML
2017 (arXiv:1706.04599), section 4.2, with MSP (Hendrycks and Gimpel, ICLR 2017,
arXiv:1610.02136) as the score. Departures: the temperature is learned from the logits of
the training rows, where the paper holds out a validation set, so a network that fits its
training rows too well gets too low a temperature; the score is the log odds against the
predicted class, which rank as MSP does but do not round to ties.

Formula:
    T minimises the cross entropy of z / T on the training rows;  p = softmax(z / T)
    score = log((1 - max p) / max p)
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Logits, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.statistics import check_labels

#: Limits of the temperature: rows that are all classified correctly have no best one.
LOWEST, HIGHEST = 0.01, 100.0

#: The temperature is found to this share of its value, in at most this many steps.
TOLERANCE = 1e-6
MAX_STEPS = 60


@dataclass(frozen=True)
class Config(Settings):
    """Temperature scaling has no settings; for a temperature of your own use msp."""


def likelihood_slopes(source: FeatureSource, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean log loss with respect to 1/T.

    Args:
        source: Rows with logits and labels.
        inverse: 1/T, above 0.

    Raises:
        DataError: If a label is not a valid class or there are no rows.
    """
    first = second = 0.0
    for batch in source.batches(arrays=("logits", "labels")):
        logits, labels = batch.logits.double(), batch.labels
        check_labels(labels, source.num_classes)
        # Only differences of logits matter; relative to the largest none cancels.
        logits = logits - logits.amax(dim=1, keepdim=True)
        probabilities = torch.softmax(inverse * logits, dim=1)
        mean = (probabilities * logits).sum(dim=1)
        variance = (probabilities * (logits - mean[:, None]).square()).sum(dim=1)
        first += float((mean - logits.gather(1, labels[:, None])[:, 0]).sum())
        second += float(variance.sum())
    if len(source) == 0:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    return first / len(source), second / len(source)


def best_temperature(source: FeatureSource) -> float:
    """Temperature of the smallest mean log loss, between `LOWEST` and `HIGHEST`.

    The loss is convex in 1/T, so Newton's method inside a bracket finds the minimum.
    """
    low, high = 1 / HIGHEST, 1 / LOWEST
    # Towards a minimum at infinity Newton's steps would be many and small.
    if likelihood_slopes(source, high)[0] <= 0:
        return LOWEST
    if likelihood_slopes(source, low)[0] >= 0:
        return HIGHEST
    inverse = 1.0
    for _ in range(MAX_STEPS):
        first, second = likelihood_slopes(source, inverse)
        low, high = (inverse, high) if first < 0 else (low, inverse)
        newton = inverse - first / second if second > 0 else 0.0
        # Outside the bracket Newton's step is worthless; halve the bracket instead.
        following = newton if low <= newton <= high else (low * high) ** 0.5
        has_converged = abs(following - inverse) <= TOLERANCE * inverse
        inverse = following
        if has_converged:
            break
    return 1 / inverse


def log_odds_against(logits: Logits) -> Scores:
    """Log of (1 - p) / p of the largest softmax probability p, [N]; higher means more OOD."""
    top, index = logits.max(dim=1, keepdim=True)
    others: Tensor = logits.scatter(1, index, -torch.inf).logsumexp(dim=1)
    return others - top[:, 0]


class TemperatureScaling(Method[Config]):
    """Scores rows by the log odds against their predicted class at the learned temperature."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("logits",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the temperature from the training logits and labels.

        Raises:
            DataError: If there is no training row, one class alone, or a label that is not a valid
                class.
        """
        source = inputs.require_train()
        if source.num_classes < 2:
            raise DataError(
                f"the head has {source.num_classes} class, whose probability is always 1; choose "
                "a method that reads features, such as mahalanobis."
            )
        temperature = best_temperature(source)
        self.temperature_ = torch.tensor(temperature, dtype=torch.float64)
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most log(C - 1); higher means more OOD."""
        return log_odds_against(batch.logits / float(self.learned("temperature_")))

    def derived(self) -> dict[str, float]:
        """The learned temperature."""
        return {"temperature": float(self.learned("temperature_"))}


Entry = TemperatureScaling
