"""Held-out ID rows that a detector brings along, so that its verdicts can keep a promise.

A detector keeps a few numbers for each row of the split that set its threshold, as far as no
slot has learned from that row: enough for every rule in `rules.py`, and no features. They are
bounded by the split and sorted by score, so that their order tells nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ltood.core.errors import DataError


@dataclass(frozen=True, eq=False)
class CalibrationRows:
    """What a detector says about n ID rows that it has not learned from.

    Attributes:
        scores: OOD scores in ascending order, [n] float32.
        classes: Most likely ID classes, [n] int64.
        labels: True classes, [n] int64; -1 where unknown.
        surprises: Minus the log softmax of the true class, [n] float32; 0 where it is unknown.
            It orders rows as one minus the softmax does, and tells apart what that rounds to 0.
    """

    scores: Tensor
    classes: Tensor
    labels: Tensor
    surprises: Tensor

    def __post_init__(self) -> None:
        """Check that all columns have the same rows."""
        rows = {field.name: list(getattr(self, field.name).shape) for field in fields(self)}
        if len({tuple(shape) for shape in rows.values()}) > 1 or self.scores.ndim != 1:
            raise DataError(f"columns of calibration rows have the shapes {rows}; give [n] each.")

    @classmethod
    def of(cls, parts: Iterable["CalibrationRows"]) -> Self:
        """Rows of several parts in one order, whatever order they came in."""
        columns = zip(*(tuple(part.tensors().values()) for part in parts), strict=True)
        joined = [torch.cat(column) for column in columns]
        order = torch.arange(len(joined[0]), device=joined[0].device)
        for column in reversed(joined):
            order = order[column[order].argsort(stable=True)]
        return cls(*(column[order] for column in joined))

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.scores)

    @property
    def num_unlabelled(self) -> int:
        """Rows whose true class is unknown."""
        return int((self.labels < 0).sum())

    def tensors(self) -> dict[str, Tensor]:
        """Columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The rows whose `tensors()` are given."""
        return cls(**tensors)


def surprises(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log softmax of the class `labels` names, [N] float32; 0 for a label of -1.

    Args:
        logits: Logits, [N, C].
        labels: Classes, [N].
    """
    known = labels.clamp(min=0)[:, None]
    found = class_surprises(logits).gather(1, known)[:, 0]
    return found.masked_fill(labels < 0, 0.0)


def class_surprises(logits: Tensor) -> Tensor:
    """Minus the log softmax of every class, [N, C] float32.

    For the likeliest class it is log(1 + sum of the odds of the others), which keeps its digits
    where the softmax rounds to 1.
    """
    wide = logits.double()
    top = wide.argmax(dim=1, keepdim=True)
    others = wide.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    sure = softplus(others - wide.gather(1, top))
    return (-wide.log_softmax(dim=1)).scatter(1, top, sure).float()
