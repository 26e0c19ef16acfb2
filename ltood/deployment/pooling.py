"""Features of new images, pooled and rounded as those were that a detector was fitted on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ltood.core.settings import parse
from ltood.networks.taps import peak_and_spread
from ltood.store.pooled import PoolingConfig


def recorded_pooling(provenance: Mapping[str, Any]) -> PoolingConfig:
    """How the features of a store were pooled, from its provenance.

    Raises:
        ConfigError: If it names a pooling that this version does not know.
    """
    recorded = provenance.get("pooling") or {}
    settings = {key: value for key, value in recorded.items() if key != "of"}
    return parse(settings, PoolingConfig, PoolingConfig.section)


def as_stored(
    means: Tensor, maps: Callable[[], Tensor], pooling: PoolingConfig, dtype: torch.dtype
) -> Tensor:
    """Features as the store has them, [n, D] float32; each part is rounded as it was stored.

    Args:
        means: Means of the last feature map, or other features of a network, [n, D].
        maps: Gives that map, [n, D, H, W]; called where the pooling is not the average.
        pooling: How the map becomes features.
        dtype: Number format of the store.
    """

    def rounded(values: Tensor) -> Tensor:
        return values.float().to(dtype).float()

    if pooling.kind == "average":
        return rounded(means)
    peak, spread = map(rounded, peak_and_spread(maps()))
    return peak if pooling.kind == "max" else rounded(rounded(means) + pooling.gamma * spread)
