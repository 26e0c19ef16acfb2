"""The pass of a batch through the network: precision, and the rows of all ranks."""

import torch
from torch import Tensor

from ltood.networks.backbone import Backbone, BackboneOutput
from ltood.runtime.devices import Precision, autocast
from ltood.runtime.distributed import Ranks
from ltood.training.sharing import AllGather, share_norms, split_evenly


class Forward:
    """Sends images through a backbone and gives features and logits as float32.

    Losses need float32 whatever the network computes in.
    """

    def __init__(
        self, backbone: Backbone, device: torch.device, precision: Precision, ranks: Ranks
    ) -> None:
        """Let batch norms of the backbone see the rows of all ranks, where there are several."""
        self._backbone, self._device, self._precision = backbone, device, precision
        self._ranks = ranks
        share_norms(backbone, ranks)

    def __call__(self, images: Tensor) -> BackboneOutput:
        """Outputs of all images, [N, channels, H, W]; every rank computes its share of them."""
        ranks = self._ranks
        if ranks.world_size == 1:
            return self.alone(images)
        sizes = split_evenly(len(images), ranks)
        start = sum(sizes[: ranks.rank])
        pooled, logits, local = self.alone(images[start : start + sizes[ranks.rank]])
        return BackboneOutput(
            AllGather.apply(pooled, sizes, ranks.rank),
            AllGather.apply(logits, sizes, ranks.rank),
            None if local is None else AllGather.apply(local, sizes, ranks.rank),
        )

    def alone(self, images: Tensor) -> BackboneOutput:
        """Outputs of images that this rank computes by itself."""
        if self._precision == "float32":
            output: BackboneOutput = self._backbone(images)
            return output
        with autocast(self._device, self._precision):
            pooled, logits, local = self._backbone(images)
        return BackboneOutput(pooled.float(), logits.float(), local)
