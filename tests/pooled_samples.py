"""Small features with a head, for methods that read pooled features, logits and the head."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.slots import Method


@dataclass(frozen=True)
class Case:
    """Training rows with labels, a head, and rows to score."""

    train: NDArray[np.float32]
    labels: NDArray[np.int64]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    rows: NDArray[np.float32]

    @property
    def head(self) -> ClassifierHead:
        return ClassifierHead(torch.tensor(self.weight), torch.tensor(self.bias))

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted class of each training row."""
        logits = self.head.logits(torch.tensor(self.train))
        return np.asarray(logits.argmax(dim=1))

    def inputs(self, **more: object) -> FitInputs:
        return FitInputs.of(self.train, self.labels, head=self.head, **more)  # type: ignore[arg-type]


def made(
    rng: np.random.Generator, counts: tuple[int, ...] = (30, 20, 10), dim: int = 8, rows: int = 12
) -> Case:
    """Features after a ReLU, some of which are predicted wrongly."""
    num_classes = len(counts)
    labels = np.repeat(np.arange(num_classes), counts)
    centres = 2 * rng.random((num_classes, dim))
    train = np.maximum(centres[labels] + rng.normal(size=(len(labels), dim)), 0)
    weight = (centres - centres.mean(axis=0)) + 0.2 * rng.normal(size=(num_classes, dim))
    new = np.maximum(1 + 2 * rng.normal(size=(rows, dim)), 0)
    as_float = [array.astype(np.float32) for array in (train, weight, new)]
    bias = rng.normal(size=num_classes).astype(np.float32)
    return Case(as_float[0], labels, as_float[1], bias, as_float[2])


def scored(method: Method, case: Case, **more: object) -> NDArray[np.float32]:
    """Scores of the rows of a case by a method that is fitted on it."""
    fitted = method.fit(case.inputs(**more))
    batch = FeatureBatch.of(torch.tensor(case.rows), head=case.head)
    found: Tensor = fitted.score(batch)
    return found.numpy()
