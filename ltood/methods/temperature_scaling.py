"""Temperature scaling: MSP at the temperature that makes probabilities honest.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML
2017 (arXiv:1706.04599), section 4.2, with MSP (Hendrycks and Gimpel, ICLR 2017,
arXiv:1610.02136) as the score. As in the paper, the temperature is learned from ID rows held
out of training, where there are any: from a share of them, so that a threshold can rest on the
others. Departures: without such rows it is learned from the training rows, which gives a network
that fits these too well too low a temperature; the score is the log odds against the predicted
class, which rank as MSP does but do not round to ties.

Formula:
    T minimises the cross entropy of z / T on these rows;  p = softmax(z / T)
    score = log((1 - max p) / max p)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, FeatureSource, Ids, Labels, Logits, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Seed, Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.held_out import first_part
from ltood.ops.statistics import check_labels

#: Limits of the temperature: rows that are all classified correctly have no best one.
LOWEST, HIGHEST = 0.01, 100.0

#: The temperature is found to this share of its value, in at most this many steps.
TOLERANCE = 1e-6
MAX_STEPS = 60


#: Reads logits and labels of all rows once, in batches.
LabelledRows = Callable[[], Iterator[tuple[Logits, Labels]]]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of temperature scaling; for a temperature of your own use msp.

    Attributes:
        fit_on: Rows that the temperature is learned from: held-out ID rows (split val), training
            rows, or "auto", the former where there are any with logits and a class.
        share: Share of the held-out rows to learn from, above 0 and at most 1; the others stay
            untouched, for thresholds and promises.
        seed: Of the cut of the held-out rows, 0 or more.
    """

    fit_on: Literal["auto", "val", "train"] = "auto"
    share: Share = 0.5
    seed: Seed = 0


def likelihood_slopes(rows: LabelledRows, inverse: float) -> tuple[float, float]:
    """First and second derivative of the summed log loss with respect to 1/T.

    Args:
        rows: Gives logits and labels.
        inverse: 1/T, above 0.
    """
    first = second = 0.0
    for logits, labels in rows():
        # Only differences of logits matter; relative to the largest none cancels.
        logits = logits - logits.amax(dim=1, keepdim=True)
        probabilities = torch.softmax(inverse * logits, dim=1)
        mean = (probabilities * logits).sum(dim=1)
        variance = (probabilities * (logits - mean[:, None]).square()).sum(dim=1)
        first += float((mean - logits.gather(1, labels[:, None])[:, 0]).sum())
        second += float(variance.sum())
    return first, second


def best_temperature(rows: LabelledRows) -> float:
    """Temperature of the smallest log loss, between `LOWEST` and `HIGHEST`.

    The loss is convex in 1/T, so Newton's method inside a bracket finds the minimum.
    """
    low, high = 1 / HIGHEST, 1 / LOWEST
    # Towards a minimum at infinity Newton's steps would be many and small.
    if likelihood_slopes(rows, high)[0] <= 0:
        return LOWEST
    if likelihood_slopes(rows, low)[0] >= 0:
        return HIGHEST
    inverse = 1.0
    for _ in range(MAX_STEPS):
        first, second = likelihood_slopes(rows, inverse)
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
    may_read: frozenset[Need] = frozenset({Need.VAL})
    arrays: tuple[str, ...] = ("logits",)

    def _configure(self) -> None:
        """Take the settings; what is named is needed."""
        if self.config.fit_on != "auto":
            needed = Need.VAL if self.config.fit_on == "val" else Need.TRAIN
            self.needs, self.may_read = frozenset({needed}), frozenset()

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the temperature from logits and labels of held-out or training rows.

        Raises:
            DataError: If there is no row to learn from, one class alone, or a label that is not a
                valid class.
        """
        held_out = self._held_out(inputs)
        source = inputs.require_train() if held_out is None else inputs.require_val()
        if source.num_classes < 2:
            raise DataError(
                f"the head has {source.num_classes} class, whose probability is always 1; choose "
                "a method that reads features, such as mahalanobis."
            )
        if held_out is None and len(source) == 0:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        self._set_learned_ids(held_out)
        rows = partial(_labelled, source, held_out)
        self.temperature_ = torch.tensor(best_temperature(rows), dtype=torch.float64)
        return self

    def _held_out(self, inputs: FitInputs) -> Ids | None:
        """Ids of the held-out rows to learn from, or None for training rows.

        Raises:
            DataError: If held-out rows are asked for and none that has a class is left.
        """
        fit_on = self.config.fit_on
        if fit_on == "train" or (fit_on == "auto" and inputs.val is None):
            return None
        ids, labels = [], []
        for batch in inputs.require_val().batches(arrays=("ids", "labels", "logits")):
            if fit_on == "auto" and "logits" not in batch.arrays:
                return None
            known = batch.arrays.get("labels")
            has_class = slice(0) if known is None else known >= 0
            ids.append(batch.ids[has_class])
            labels.append(batch.ids[has_class] if known is None else known[has_class])
        found, strata = torch.cat(ids), torch.cat(labels)
        chosen = first_part(found, strata, self.config.share, self.config.seed)
        if chosen.any():
            learned: Ids = torch.unique(found[chosen])
            return learned
        if fit_on == "auto":
            return None
        raise DataError(
            f"methods.temperature_scaling.share is {self.config.share}, which leaves none of "
            f"{len(found)} held-out rows with a class (split val); raise it, label these rows, or "
            "set fit_on: train."
        )

    def _set_learned_ids(self, ids: Ids | None) -> None:
        if ids is not None:
            self.learned_ids_ = ids

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Held-out rows that the temperature was learned from, [N] bool."""
        known = vars(self).get("learned_ids_")
        if known is None:
            return super().learned_rows(ids, labels)
        return torch.isin(ids, known.to(ids.device))

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at most log(C - 1); higher means more OOD."""
        return log_odds_against(batch.logits / float(self.learned("temperature_")))

    def derived(self) -> dict[str, float]:
        """The learned temperature."""
        return {"temperature": float(self.learned("temperature_"))}

    def findings(self) -> dict[str, Any]:
        """Which rows the temperature was learned from."""
        self.learned("temperature_")
        return {"fitted_on": "val" if "learned_ids_" in vars(self) else "train"}


def _labelled(source: FeatureSource, ids: Ids | None) -> Iterator[tuple[Logits, Labels]]:
    """Logits, float64, and labels of the rows with these ids and a class; of all if None.

    Raises:
        DataError: If a label is not a valid class.
    """
    arrays = ("logits", "labels") if ids is None else ("logits", "labels", "ids")
    for batch in source.batches(arrays=arrays):
        logits, labels = batch.logits, batch.labels
        if ids is not None:
            mine = (labels >= 0) & torch.isin(batch.ids, ids.to(batch.ids.device))
            logits, labels = logits[mine], labels[mine]
        check_labels(labels, source.num_classes)
        yield logits.double(), labels


Entry = TemperatureScaling
