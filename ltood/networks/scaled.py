"""Base of most image networks: scaled channels in front, one linear layer at the end."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import ConfigError
from ltood.networks.backbone import Backbone, ImageSpec


class ScaledBackbone(Backbone):
    """A backbone that shifts and scales the channels and ends in one linear layer.

    Attributes:
        mean: Subtracted from images in [0, 1], [1, channels or 1, 1, 1].
        std: Divides them after that.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        images: ImageSpec,
        mean: tuple[float, ...] | None,
        std: tuple[float, ...] | None,
        *,
        channels: int | None = None,
    ) -> None:
        """Keep the numbers that scale the channels with the weights.

        Args:
            images: What the images look like.
            mean: One value for each channel; None takes those of the images.
            std: Divides each channel, above 0.
            channels: Channels that the first layer takes, where grey images are repeated to
                make them; None takes those of the images.

        Raises:
            ConfigError: If mean or std have another number of values than there are channels.
        """
        super().__init__(images)
        self.channels = images.channels if channels is None else channels
        for name, given in (("mean", mean), ("std", std)):
            values = getattr(images, name) if given is None else given
            if len(values) not in (images.channels, self.channels):
                raise ConfigError(
                    f"backbones.{self.entry_name}.{name} has {len(values)} values but the images "
                    f"have {images.channels} channels; give one per channel or null."
                )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    @property
    @abstractmethod
    def linear_head(self) -> nn.Linear:
        """The layer from features to logits."""

    @property
    def last_norm(self) -> nn.BatchNorm2d | None:
        """The last batch norm before pooling, where it has the features' width."""
        return None

    def head_names(self) -> tuple[str, ...]:
        """Names of weight and bias of the last layer among the tensors."""
        names = {id(value): name for name, value in self.named_parameters()}
        return names[id(self.linear_head.weight)], names[id(self.linear_head.bias)]

    @property
    def feature_dim(self) -> int:
        """Feature width D."""
        return self.linear_head.in_features

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Scale and shift of each channel."""
        return {
            "scale": "uint8 / 255",
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def scaled(self, images: Tensor) -> Tensor:
        """Input of the first layer for images [N, channels, H, W] in [0, 1]."""
        return (images.expand(-1, self.channels, -1, -1) - self.mean) / self.std

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [N, C + e] of pooled features [N, D]."""
        logits: Tensor = self.linear_head(pooled)
        return logits

    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Head and last batch norm, as `Backbone.head_arrays` describes them."""
        num_classes, head, norm = self.images.num_classes, self.linear_head, self.last_norm
        tensors = {"weight": head.weight[:num_classes], "bias": head.bias[:num_classes]}
        if norm is not None:
            tensors |= {"bn_weight": norm.weight, "bn_bias": norm.bias}
        if self.images.num_aux_outputs:
            tensors["extra_weight"] = head.weight[num_classes:]
            tensors["extra_bias"] = head.bias[num_classes:]
        return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}


def rename(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace the beginnings of names by the first of `names` that fits.

    A name that fits none stays, and so does one whose new name is taken: no tensor is lost.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        start = next((start for start in names if name.startswith(start)), "")
        new = names.get(start, "") + name.removeprefix(start)
        renamed[name if new in renamed else new] = value
    return renamed
