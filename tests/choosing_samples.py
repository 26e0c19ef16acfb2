"""Inputs to choose on: classes that lie in directions, so that lengths mean nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior

#: Cheap candidates of different kinds.
FEW = ("energy", "mahalanobis", {"method": "knn", "settings": {"k": 3}})


def directions(seed: int = 0, counts: Sequence[int] = (40,) * 6, val: int = 30, dim: int = 16):
    """Training and held-out rows, [N, D]: unit class directions times a length of any size."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(len(counts), dim, generator=rng), dim=1)

    def rows(labels: Tensor) -> FeatureBatch:
        noise = 0.15 * torch.randn(len(labels), dim, generator=rng)
        lengths = torch.exp(1.5 * torch.randn(len(labels), 1, generator=rng))
        ids = torch.randperm(10 * len(labels), generator=rng)[: len(labels)]
        features = (centres[labels] + noise) * lengths
        return FeatureBatch({"features": features, "labels": labels, "ids": ids})

    train = rows(torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)))
    held_out = rows(torch.arange(len(counts)).repeat(val))
    return train, held_out, ClassifierHead(centres, torch.zeros(len(counts)))


def inputs_of(
    train: FeatureBatch,
    val: FeatureBatch,
    head: ClassifierHead | None,
    *,
    aux: FeatureBatch | None = None,
    batch_rows: int = 8192,
) -> FitInputs:
    class Small(TensorSource):
        def batches(self, rows=8192, arrays=()):
            return super().batches(min(rows, batch_rows), arrays)

    classes = int(train.labels.max()) + 1

    def source(rows: FeatureBatch) -> TensorSource:
        outputs = {} if head is None else {"logits": head.logits(rows.features)}
        return Small(FeatureBatch({**rows.arrays, **outputs}), classes)

    prior = ClassPrior(torch.bincount(train.labels, minlength=classes).numpy())
    outliers = None if aux is None else source(aux)
    return FitInputs(source(train), outliers, head, prior, source(val))


def reordered(rows: FeatureBatch, seed: int = 1) -> FeatureBatch:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return FeatureBatch({name: tensor[order] for name, tensor in rows.arrays.items()})
