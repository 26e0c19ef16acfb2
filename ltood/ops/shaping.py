"""Changes of single activations: clipping from above, and where the clip comes from."""

import math
from typing import Literal

import torch
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.types import Features, FitInputs
from ltood.ops.statistics import activations, check_percentile

#: A number, a percentile of the training activations, or no clip.
Clip = float | Literal["auto"] | None

#: Default percentile of "auto". The customary 90th wrecks ReAct on networks whose useful
#: activations are rare: on the CIFAR-10 DenseNet it lies at 0.41, while the authors of
#: HIMPLoS clip at 1.6, its 98th percentile.
CLIP_PERCENTILE = 98.0


def clip_above(features: Features, ceiling: Tensor | float) -> Features:
    """Features with every activation above `ceiling` set to it, [N, D]; a new tensor."""
    return torch.clamp(features, max=ceiling)


def clip_ceiling(clip: Clip, percentile: float, inputs: FitInputs) -> float:
    """Turn the setting into a number.

    Args:
        clip: A number, "auto" or None.
        percentile: Percentile of all training activations that "auto" stands for.
        inputs: Read for "auto" only.

    Returns:
        The largest activation to let through; infinity where there is no clip.
    """
    if clip is None:
        return math.inf
    if isinstance(clip, str):
        return activations(inputs).percentile(percentile)
    return clip


def check_clip(clip: Clip, percentile: float, where: str, percentile_key: str) -> None:
    """Refuse a clip that is no number, "auto" or null, and a percentile out of range.

    Args:
        clip: The setting's value.
        percentile: Value of the percentile that belongs to it.
        where: The section's path, such as "methods.react".
        percentile_key: Name of the percentile in that section.

    Raises:
        ConfigError: If either value is out of range.
    """
    if clip is not None and clip != "auto" and (isinstance(clip, str) or not clip > 0):
        raise ConfigError(
            f"{where}.clip is {clip!r}; give the largest activation to let through, above 0, "
            "or auto (a percentile of the training activations), or null for no clip."
        )
    check_percentile(percentile, f"{where}.{percentile_key}")
