"""Extra arrays from the last feature map: other poolings of it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ltood.extraction.config import ExtractionConfig
from ltood.networks.backbone import Backbone
from ltood.networks.taps import last_maps, peak_and_spread
from ltood.store.layout import ArraySpec


class Pooling:
    """Maximum and standard deviation over the places of the last feature map.

    Source: Anonymous authors of "DAVIS: Out-of-distribution Detection via Dominant Activation and
    Variance for Increased Separation", 2025.
    """

    def __init__(self, backbone: Backbone, config: ExtractionConfig) -> None:
        """Take a backbone and settings."""
        self._backbone = backbone
        self._width, self._dtype = backbone.feature_dim, config.dtype

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Both in the number format of features."""
        spec = ArraySpec(self._dtype, (self._width,))
        return {"max": spec, "std": spec}

    def compute(self, images: Tensor, features: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        """Maximum and deviation of each channel, [n, D]; one place alone has the deviation 0.

        Raises:
            ConfigError: If the features are not the mean of a feature map.
        """
        with torch.no_grad():
            maps = last_maps(self._backbone, images, features(), "extra arrays pooling")
            peak, spread = peak_and_spread(maps)
            return {"max": peak, "std": spread}


#: Classes by group.
KINDS = {"pooling": Pooling}
