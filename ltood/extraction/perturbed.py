"""Features of images that were moved along the sign of a gradient: ODIN and AdaSCALE.

Each costs one pass forwards, one backwards to the pixels, and one forwards again. Images are moved
in units of pixels scaled to [0, 1]; weights keep no gradient, batch norms their stored statistics.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.extraction.config import ExtractionConfig
from ltood.networks.backbone import Backbone
from ltood.store.layout import ArraySpec


class _Perturbed(ABC):
    """A group that holds features of moved images.

    Attributes:
        group: Its name.
    """

    group: str

    def __init__(self, backbone: Backbone, config: ExtractionConfig) -> None:
        """Take a backbone and settings.

        Raises:
            ConfigError: If the backbone has no logits to follow.
        """
        if not backbone.has_head:
            raise ConfigError(
                f"extra arrays {self.group} move images along the gradient of their logits, and "
                f"backbone {backbone.entry_name} has no head; leave {self.group} out of "
                "extraction.extras, and its method out of method and compare.methods."
            )
        self._backbone, self._config = backbone, config

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Settings that decide the arrays."""

    @abstractmethod
    def moved(self, images: Tensor) -> Tensor:
        """Images as the network sees them again, of the same shape."""

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Features, in full precision: what is scored is how little they differ."""
        return {"features": ArraySpec("float32", (self._backbone.feature_dim,))}

    def compute(self, images: Tensor, features: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        """Features of the moved images, [n, D]."""
        del features
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return {"features": self._backbone.embed(self.moved(images))[0].float()}

    def gradient(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        """Gradient of the sum of objectives of the class logits, [n, C] to [n], by pixel."""
        classes = self._backbone.images.num_classes
        # Rows do not see one another, so the gradient of the sum is that of each row.
        with torch.enable_grad():
            pixels = images.detach().requires_grad_()
            logits = self._backbone.classify(self._backbone.embed(pixels)[0])[:, :classes]
            (gradient,) = torch.autograd.grad(objective(logits).sum(), pixels)
        return gradient


class Odin(_Perturbed):
    """Images moved to where their predicted class is likelier.

    Source: Liang, Li and Srikant, "Enhancing the Reliability of Out-of-distribution Image
    Detection in Neural Networks", ICLR 2018 (arXiv:1706.02690), equation 2.
    """

    group = "odin"

    def settings(self) -> dict[str, Any]:
        """Temperature and step."""
        config = self._config
        return {"temperature": config.odin_temperature, "magnitude": config.odin_magnitude}

    def moved(self, images: Tensor) -> Tensor:
        """Images a step up the gradient of log max softmax(z / T); pixels without one stay."""

        def likelihood(logits: Tensor) -> Tensor:
            return (logits / self._config.odin_temperature).log_softmax(dim=1).amax(dim=1)

        step = self._config.odin_magnitude * self.gradient(images, likelihood).sign()
        return images + step


class AdaScale(_Perturbed):
    """Images moved where their largest logit depends on them least.

    Source: Regmi, "AdaSCALE: Adaptive Scaling for OOD Detection", 2025 (arXiv:2503.08023).
    """

    group = "adascale"

    def settings(self) -> dict[str, Any]:
        """Share of values that move, and the step."""
        return {"share": self._config.adascale_share, "step": self._config.adascale_step}

    def moved(self, images: Tensor) -> Tensor:
        """Images with a share of their values moved up the gradient of the largest logit."""
        scale = self._scale(images)
        # The paper ranks and moves values in units of what the first layer sees.
        gradient = self.gradient(images, lambda logits: logits.amax(dim=1)) * scale
        flat = gradient.flatten(1)
        num_moved = int(flat.shape[1] * self._config.adascale_share)
        # Stable, so that among equal gradients the first pixels move, on every machine.
        least = flat.abs().argsort(dim=1, stable=True)[:, :num_moved]
        mask = torch.zeros_like(flat).scatter_(1, least, 1.0).view_as(images)
        return images + self._config.adascale_step * gradient.sign() * mask * scale

    def _scale(self, images: Tensor) -> Tensor:
        """What one unit of the first layer's input is in pixels, [channels or 1, 1, 1]."""
        std = torch.tensor(self._backbone.preprocessing["std"], device=images.device)
        # Grey images that are repeated to three channels have one number for all of them.
        std = std if len(std) in (1, images.shape[1]) else std.mean()[None]
        return std.float().view(-1, 1, 1)


#: Classes by group.
KINDS = {"odin": Odin, "adascale": AdaScale}
