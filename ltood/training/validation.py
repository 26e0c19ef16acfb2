"""The look at the validation split between epochs: accuracy and cross entropy."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone
from ltood.networks.pixels import as_input
from ltood.runtime.distributed import Ranks
from ltood.training.pixels import ImageProvider, pixels_of
from ltood.training.sharing import split_evenly


class Seen(NamedTuple):
    """What a look shows.

    Attributes:
        accuracy: Share of images whose largest class logit is right; None without images.
        loss: Mean cross entropy of the class logits in nats, whatever is trained with; may be
            NaN or infinite where logits are.
    """

    accuracy: float | None
    loss: float | None


class Validation:
    """The validation split on a device; every rank computes its share of it."""

    def __init__(
        self,
        data: ImageData,
        backbone: Backbone,
        device: torch.device,
        layout: torch.memory_format,
        ranks: Ranks | None = None,
    ) -> None:
        """Move small images to the device; nothing is held where there is no split val."""
        self._layout, self._ranks = layout, ranks or Ranks()
        self._held, self._num = None, 0
        if "val" in data.splits():
            source = data.source("val")
            self._num = len(source)
            sizes = split_evenly(len(source), self._ranks)
            start = sum(sizes[: self._ranks.rank])
            own = np.arange(start, start + sizes[self._ranks.rank])
            if self._ranks.world_size > 1 and len(own):
                source = source.take(own)
            if len(own):
                labels = torch.from_numpy(source.labels.copy()).to(device)
                self._held = pixels_of(source, backbone, device, Ranks()), labels

    def close(self) -> None:
        """End the threads that decode."""
        if self._held is not None:
            self._held[0].close()

    @torch.no_grad()
    def look(self, logits_of: Callable[[Tensor], Tensor]) -> Seen:
        """Accuracy and loss of all images.

        Args:
            logits_of: Class logits [N, C] of images as the network takes them.
        """
        if not self._num:
            return Seen(None, None)
        seen = torch.zeros(2, dtype=torch.float64)
        if self._held is not None:
            seen += torch.tensor(self._sums(*self._held, logits_of), dtype=torch.float64)
        if self._ranks.world_size > 1:
            dist.all_reduce(seen)
        right, total = seen.tolist()
        return Seen(right / self._num, total / self._num)

    def _sums(
        self, pixels: ImageProvider, labels: Tensor, logits_of: Callable[[Tensor], Tensor]
    ) -> tuple[float, float]:
        """Right answers, and sum of the losses, of the rows of this rank."""
        right, total, start = 0, 0.0, 0
        # Closed here: an error's traceback would keep the threads of a half-read split alive.
        with closing(pixels.blocks()) as blocks:
            for images in blocks:
                wanted = labels[start : start + len(images)]
                logits = logits_of(as_input(images, self._layout))
                right += int((logits.argmax(dim=1) == wanted).sum())
                total += float(cross_entropy(logits.double(), wanted, reduction="sum"))
                start += len(images)
        return right, total
