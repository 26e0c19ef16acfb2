"""The look at the validation split between epochs: accuracy and cross entropy."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone
from ltood.networks.pixels import as_input
from ltood.runtime.distributed import Ranks
from ltood.training.pixels import pixels_of


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
    """The validation split on a device; every rank computes all of it."""

    def __init__(
        self,
        data: ImageData,
        backbone: Backbone,
        device: torch.device,
        layout: torch.memory_format,
    ) -> None:
        """Move small images to the device; nothing is held where there is no split val."""
        self._layout = layout
        self._held = None
        if "val" in data.splits():
            source = data.source("val")
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
        if self._held is None:
            return Seen(None, None)
        pixels, labels = self._held
        right, total, start = 0, 0.0, 0
        # Closed here: an error's traceback would keep the threads of a half-read split alive.
        with closing(pixels.blocks()) as blocks:
            for images in blocks:
                wanted = labels[start : start + len(images)]
                logits = logits_of(as_input(images, self._layout))
                right += int((logits.argmax(dim=1) == wanted).sum())
                total += float(cross_entropy(logits.double(), wanted, reduction="sum"))
                start += len(images)
        return Seen(right / len(labels), total / len(labels))
