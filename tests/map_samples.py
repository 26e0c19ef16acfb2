"""Feature maps, and a head for their means."""

import torch

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.methods.energy import Energy


def head_of(classes: int = 5, dim: int = 6) -> ClassifierHead:
    rng = torch.Generator().manual_seed(7)
    return ClassifierHead(
        torch.randn(classes, dim, generator=rng), torch.randn(classes, generator=rng)
    )


def maps_of(seed: int = 0, rows: int = 12, places: int = 9, dim: int = 6) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rows, places, dim, generator=rng).relu()


def batch_of(maps: torch.Tensor) -> FeatureBatch:
    return FeatureBatch.of(extras={"maps/features": maps})


def energy_of(features: torch.Tensor) -> torch.Tensor:
    return Energy().score(logits=head_of().logits(features))
