"""Other numbers to scale outliers by, and the mean pixel that images are filled with."""

from collections.abc import Callable

import torch
from torch import Tensor

from ltood.networks.backbone import Backbone
from ltood.networks.scaled import ScaledBackbone
from ltood.training.plan import TrainingConfig

#: Mean of a channel where the backbone scales its input in a way of its own.
_GREY = 0.5


def aux_scaling(
    config: TrainingConfig, backbone: Backbone, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Change of outliers [N, channels, H, W] in [0, 1] that scales them by numbers of their own.

    The network subtracts its mean and divides by its deviation from all images alike. Outliers are
    therefore shifted and stretched before, so that after that step they are (x - aux_mean) /
    aux_std to rounding. Without the two settings they stay as they are.

    Raises:
        ConfigError: If the backbone does not scale each channel of the images by itself, or the
            number of values is not that of the channels.
    """
    if config.aux_mean is None or config.aux_std is None:
        return lambda images: images
    channels = backbone.images.channels
    if not isinstance(backbone, ScaledBackbone) or backbone.mean.numel() > channels:
        raise config.fault(
            "aux_mean",
            f"is set, but {backbone.entry_name} scales these images in a way of its own; set "
            "aux_mean and aux_std to null or choose another backbone.",
        )
    own = [torch.tensor(values, device=device) for values in (config.aux_mean, config.aux_std)]
    for name, values in zip(("aux_mean", "aux_std"), own, strict=True):
        if len(values) != channels:
            raise config.fault(
                name,
                f"has {len(values)} values but the images have {channels} channels; give one per "
                "channel.",
            )
    mean, std = (values.view(1, -1, 1, 1) for values in own)

    def rescaled(images: Tensor) -> Tensor:
        return (images - mean) / std * backbone.std + backbone.mean

    return rescaled


def mean_pixel(backbone: Backbone) -> tuple[int, ...]:
    """Mean of each channel that the backbone subtracts, rounded to whole pixel values."""
    channels = backbone.images.channels
    if not isinstance(backbone, ScaledBackbone):
        return (round(255 * _GREY),) * channels
    means = backbone.mean.flatten().tolist()
    if len(means) != channels:  # grey images, repeated to the channels of the network
        means = [sum(means) / len(means)] * channels
    return tuple(min(255, max(0, round(255 * value))) for value in means)
