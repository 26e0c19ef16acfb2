"""What the draws of a choice have in common: the rows that may be used, by id and class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.choosing.keyed import keyed
from ltood.core.batches import FeatureBatch, FeatureSource, Ids, Labels
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs
from ltood.ops.held_out import first_part
from ltood.ops.statistics import class_statistics

#: Bytes of the rows of one kind that are held at once; wide rows get fewer.
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Material:
    """Inputs of a choice.

    Attributes:
        inputs: What a method may learn from.
        ids: Ids of the rows of the split val, [N].
        labels: Their classes, [N].
        is_used: Which of them the choice may use, [N] bool; the others stay untouched.
        declared: Rows of a declared set of outliers, or None.
        limit: Most rows of one kind that are scored in a draw.
        seed: Seed of everything that is drawn.
    """

    inputs: FitInputs
    ids: Ids
    labels: Labels
    is_used: Tensor
    declared: FeatureSource | None
    limit: int
    seed: int

    @classmethod
    def of(
        cls,
        inputs: FitInputs,
        *,
        share: float,
        limit: int,
        seed: int,
        declared: FeatureSource | None = None,
    ) -> "Material":
        """Find the held-out rows and cut off what stays untouched.

        Raises:
            MissingNeedError: If there are no training or no held-out rows.
            DataError: If the held-out rows have no classes.
        """
        ids, labels = _ids(inputs.require_val()), _labels(inputs.require_val())
        if not len(ids):
            raise DataError("the split val has no rows; hold rows of every class out of training.")
        if bool((labels < 0).any()):
            raise DataError(
                f"{int((labels < 0).sum())} of {len(labels)} rows of val have no class; auto holds "
                "whole classes out, so give the labels of val (val_labels=)."
            )
        # Rows of one id stay together, whatever the hash says.
        used = torch.isin(ids, ids[first_part(ids, labels, share, seed)])
        return cls(inputs, ids, labels, used, declared, limit, seed)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.inputs.require_train().num_classes

    @property
    def has_local(self) -> bool:
        """Whether rows hold local features."""
        sources = (self.inputs.require_train(), self.inputs.require_val())
        return all(source.has_local for source in sources)

    @property
    def train_counts(self) -> NDArray[np.int64]:
        """Training rows of each class, [C]."""
        counts: NDArray[np.int64] = class_statistics(self.inputs).counts.cpu().numpy()
        return counts

    @property
    def used_counts(self) -> NDArray[np.int64]:
        """Held-out rows of each class that the choice may use, [C]."""
        counts = torch.bincount(self.labels[self.is_used], minlength=self.num_classes)
        found: NDArray[np.int64] = counts.cpu().numpy()
        return found

    @cached_property
    def aux_to_learn(self) -> Tensor | None:
        """Auxiliary outliers that candidates may learn from, [M] bool; None are all.

        Where they are the declared outliers, half of them: the others judge.
        """
        if self.declared is None or self.declared is not self.inputs.aux:
            return None
        ids = _ids(self.declared)
        return first_part(ids, torch.zeros_like(ids), 0.5, self.seed)

    def declared_rows(self, arrays: Sequence[str]) -> FeatureBatch | None:
        """Declared outliers from which no candidate learns, or None where none are declared."""
        if self.declared is None:
            return None
        ids = _ids(self.declared)
        learned = self.aux_to_learn
        chosen = torch.ones_like(ids, dtype=torch.bool) if learned is None else ~learned
        return gathered(self.declared, chosen, ids, arrays, self.limit, self.seed)

    def rows_of(self, chosen: Tensor, arrays: Sequence[str]) -> FeatureBatch:
        """The chosen rows of val, [N] bool, thinned at random where they are too many."""
        return gathered(self.inputs.require_val(), chosen, self.ids, arrays, self.limit, self.seed)


def gathered(
    source: FeatureSource,
    chosen: Tensor,
    ids: Tensor,
    arrays: Sequence[str],
    limit: int,
    seed: int,
) -> FeatureBatch:
    """Some rows of a source in memory, with labels and ids.

    Args:
        source: Rows.
        chosen: Which of them, [N] bool.
        ids: Their ids, [N]; they decide which rows are left out where there are too many.
        arrays: Arrays to hold, made of no head.
        limit: Most rows.
        seed: Another seed leaves out others.
    """
    places = chosen.nonzero()[:, 0]
    numbers = keyed(ids[places], seed)
    order = torch.argsort(numbers, stable=True)
    is_held = torch.zeros_like(chosen)
    is_held[places[order[: max(1, min(limit, _most_rows(source, arrays)))]]] = True
    parts: dict[str, list[Tensor]] = {}
    done = 0
    for batch in source.batches(arrays=(*arrays, "ids", "labels")):
        mask = is_held[done : done + len(batch)]
        done += len(batch)
        for name in (*arrays, "ids", "labels"):
            tensor = batch.arrays.get(name)
            if tensor is not None:
                parts.setdefault(name, []).append(tensor[mask])
    return FeatureBatch({name: torch.cat(tensors) for name, tensors in parts.items()})


def _labels(source: FeatureSource) -> Labels:
    """Classes of all rows, [N]; -1 where a row has none."""
    parts = []
    for batch in source.batches(arrays=("labels",)):
        labels = batch.arrays.get("labels")
        missing = torch.full((len(batch),), -1)
        parts.append(missing if labels is None else labels)
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def _ids(source: FeatureSource) -> Ids:
    """Ids of all rows, [N]; their numbers where they have no ids."""
    parts: list[Tensor] = []
    done = 0
    for batch in source.batches(arrays=("ids",)):
        ids = batch.arrays.get("ids")
        parts.append(torch.arange(done, done + len(batch)) if ids is None else ids)
        done += len(batch)
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def _most_rows(source: FeatureSource, arrays: Sequence[str]) -> int:
    """Rows that fit into `MOST_BYTES`."""
    for batch in source.batches(1, arrays):
        held = (batch.arrays.get(name) for name in arrays)
        values = sum(rows.numel() for rows in held if rows is not None)
        return max(1, MOST_BYTES // (4 * values))
    return 1
