"""What a network computes on the way to its features: its last feature map."""

import torch
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.networks.backbone import Backbone

#: Largest difference of the map's mean from the features, relative to the largest feature.
_TOLERANCE = 1e-2


def last_maps(backbone: Backbone, images: Tensor, pooled: Tensor, what: str) -> Tensor:
    """The feature maps whose mean over places is the features, [n, D, H, W].

    Args:
        backbone: In evaluation mode.
        images: Pixels scaled to [0, 1], [n, channels, H, W].
        pooled: Their features, [n, D].
        what: What needs the maps, for messages.

    Raises:
        ConfigError: If no map's mean is the features, as of transformers that read a class token
            or norm the mean.
    """
    maps = backbone.feature_maps(images)
    if maps is not None and maps.ndim == 4:
        means = maps.float().mean(dim=(2, 3))
        largest = pooled.float().abs().amax()
        if means.shape == pooled.shape and (means - pooled).abs().amax() <= _TOLERANCE * largest:
            return maps
    raise ConfigError(
        f"{what} need a feature map whose mean is the features, and backbone "
        f"{backbone.entry_name} has none; choose a network that takes the plain mean of its last "
        "map or of its tokens, or leave them out of extraction.extras."
    )


def peak_and_spread(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum and deviation of each channel, [n, D] float32; one place alone has the deviation 0.

    The deviation divides by the number of places less one.

    Args:
        maps: Feature maps, [n, D, H, W].
    """
    places = maps.flatten(2).float()
    spread = places.std(dim=2) if places.shape[2] > 1 else torch.zeros_like(places[..., 0])
    return places.amax(dim=2), spread
