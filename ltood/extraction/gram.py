"""Extra arrays from several layers: row sums of Gram matrices between channels, at several orders.

One more pass forwards. A Gram matrix of order p holds the products of channels, each raised to the
power p, summed over all places. The sum of a row needs no matrix: it is the product of one channel
with the sum of all of them, so time and memory grow with channels times places alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.layers import blank_image, chosen_layers, layer_outputs, places
from ltood.networks.backbone import Backbone
from ltood.store.layout import ArraySpec

#: Numbers of one layer that are worked on at once (32 MiB in float64).
BLOCK_VALUES = 2**22


class Gram:
    """Roots of the row sums of Gram matrices of some layers."""

    def __init__(self, backbone: Backbone, config: ExtractionConfig) -> None:
        """Take a backbone and settings, and see how wide the layers are.

        Raises:
            ConfigError: If the backbone has no such layers, or one gives no maps.
        """
        self._backbone = backbone
        self._names = chosen_layers(backbone, config)
        self._orders = config.gram_orders
        with torch.no_grad():
            outputs = layer_outputs(backbone, blank_image(backbone), self._names)
        self._widths = [places(output, backbone, name).shape[1] for name, output in outputs.items()]

    def settings(self) -> dict[str, Any]:
        """Names of the layers, and orders."""
        return {"layers": list(self._names), "orders": list(self._orders)}

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Row sums, in full precision: small ones set the range of a class."""
        shape = (len(self._widths), len(self._orders), max(self._widths))
        return {"sums": ArraySpec("float32", shape)}

    def compute(self, images: Tensor, features: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        """Row sums of each layer at each order, [n, L, P, W]."""
        del features
        found = torch.zeros(len(images), *self.arrays()["sums"].shape, device=images.device)
        with torch.no_grad():
            outputs = layer_outputs(self._backbone, images, self._names)
            for layer, (name, output) in enumerate(outputs.items()):
                maps = places(output, self._backbone, name)
                sums = gram_sums(maps, self._orders)
                found[:, layer, :, : self._widths[layer]] = sums
        return {"sums": found}


def gram_sums(maps: Tensor, orders: Sequence[int]) -> Tensor:
    """Signed p-th roots of the row sums of Gram matrices of order p, [n, P, W] float32.

    Args:
        maps: Channels and places, [n, W, S].
        orders: The orders p, each 1 or more.
    """
    rows = max(1, BLOCK_VALUES // max(1, maps[:1].numel()))
    return torch.cat([_sums_of_some(block, orders) for block in torch.split(maps, rows)])


def _sums_of_some(maps: Tensor, orders: Sequence[int]) -> Tensor:
    """As `gram_sums`, of few images at once.

    High powers leave float32 and, of large maps, float64, so maps are divided by their largest
    value first: root_p(m^2p r) = m^2 root_p(r).
    """
    values = maps.double()
    largest = values.abs().amax(dim=(1, 2), keepdim=True)
    values = values / torch.where(largest > 0, largest, 1.0)
    found = []
    for order in orders:
        powers = values**order
        sums = (powers * powers.sum(dim=1, keepdim=True)).sum(dim=2)
        found.append(sums.sign() * sums.abs() ** (1 / order))
    roots: Tensor = torch.stack(found, dim=1) * largest.square()
    return roots.float()


#: Classes by group.
KINDS = {"gram": Gram}
