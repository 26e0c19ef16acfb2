"""The toy data of all tests on a GPU, real or pretended."""

import dataclasses

import torch

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.inputs import FitInputs

CUDA = torch.device("cuda")


def moved(batch):
    """A batch on the GPU."""
    return FeatureBatch({name: rows.to(CUDA) for name, rows in batch.arrays.items()})


def moved_head(head):
    """A head on the GPU."""
    values = {field.name: getattr(head, field.name) for field in dataclasses.fields(head)}
    tensors = {name: rows for name, rows in values.items() if isinstance(rows, torch.Tensor)}
    return dataclasses.replace(head, **{name: rows.to(CUDA) for name, rows in tensors.items()})


def moved_inputs(toy):
    """What methods are fitted on, on the GPU."""

    def source(own):
        return TensorSource(moved(next(iter(own.batches()))), toy.head.num_classes)

    own = toy.inputs
    return FitInputs(
        source(own.train), source(own.aux), moved_head(toy.head), own.prior, source(own.val)
    )
