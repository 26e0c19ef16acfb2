"""The last feature map as an extra array: features of each place."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ltood.core.errors import ConfigError, DataError
from ltood.extraction.config import ExtractionConfig
from ltood.networks.backbone import Backbone
from ltood.networks.taps import last_maps
from ltood.store.layout import ArraySpec

_WHAT = "extra arrays maps"
#: Largest number of float16.
_LARGEST = torch.finfo(torch.float16).max


class Places:
    """Maps whose mean over places is the features."""

    def __init__(self, backbone: Backbone, config: ExtractionConfig) -> None:
        """Take a backbone, and see how many places its map has.

        Raises:
            ConfigError: If its features are not the mean of a map.
        """
        del config
        self._backbone = backbone
        device = next(backbone.parameters()).device
        image = torch.full((1, backbone.images.channels, *backbone.input_size), 0.5, device=device)
        with torch.no_grad():
            maps = last_maps(backbone, image, backbone.embed(image)[0], _WHAT)
        self._shape = (maps.shape[2] * maps.shape[3], backbone.feature_dim)

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Features of P places, row by row of the grid, in half precision."""
        return {"features": ArraySpec("float16", self._shape)}

    def compute(self, images: Tensor, features: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        """Maps of the images, [n, P, D].

        Raises:
            ConfigError: If images are of another size than those of other splits.
            DataError: If an activation is too large for float16.
        """
        with torch.no_grad():
            maps = last_maps(self._backbone, images, features(), _WHAT)
            places = maps.flatten(2).transpose(1, 2)
        if tuple(places.shape[1:]) != self._shape:
            raise ConfigError(
                f"{_WHAT} have {places.shape[1]} places for images of "
                f"{images.shape[2]} x {images.shape[3]} pixels and {self._shape[0]} for those the "
                "backbone was made for; prepare all splits with images of one size."
            )
        if not places.abs().amax() <= _LARGEST:
            raise DataError(
                f"{_WHAT} hold activations above {_LARGEST:.0f}, the largest number of float16, in "
                "which maps are stored; leave maps out of extraction.extras for this backbone."
            )
        return {"features": places.half()}


#: Classes by group.
KINDS = {"maps": Places}
