"""What every backbone offers: images to features and logits, and a head to take along.

A backbone entry (`ltood/backbones/<name>.py`) holds a frozen dataclass `Config` and a class
`Entry` that is a `Backbone` and is built as `Entry(config, images)`, where `images` says what
the images look like and how many outputs are wanted.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import ConfigError, DataError
from ltood.core.params import parse
from ltood.core.registry import load

_BLOCK_ROWS = 4096


class BackboneOutput(NamedTuple):
    """What a backbone says about a batch.

    Attributes:
        pooled: Features that the head reads, [N, D].
        logits: Class logits and then e detector nodes, [N, C + e].
        local: Features of P patches, [N, P, D], or None.
    """

    pooled: Tensor
    logits: Tensor
    local: Tensor | None = None


@dataclass(frozen=True)
class ImageSpec:
    """What a backbone must know of the data it is built for.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        height: Pixels.
        width: Pixels.
        mean: Mean of each channel over the training images, scaled to [0, 1].
        std: Standard deviation likewise, above 0.
        num_classes: Number of classes C.
        num_extra: Detector nodes e beside the classes.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    num_extra: int = 0

    def __post_init__(self) -> None:
        """Check that there is one mean and one positive deviation per channel."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise DataError(
                    f"the image {name} has {len(values)} values but images have {self.channels} "
                    "channels; give one per channel."
                )
        if min(self.std) <= 0:
            raise DataError(
                f"the image std is {list(self.std)}; pixels are divided by it, so every value "
                "must be above 0 (images of one constant colour cannot be learned from)."
            )

    @classmethod
    def of(cls, images: NDArray[np.uint8], num_classes: int, *, num_extra: int = 0) -> "ImageSpec":
        """Describe training images, [N, H, W, C] uint8, by exact counts of their values."""
        _, height, width, channels = images.shape
        counts = np.zeros((channels, 256), dtype=np.int64)
        for start in range(0, len(images), _BLOCK_ROWS):
            block = images[start : start + _BLOCK_ROWS]
            for channel in range(channels):
                counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        levels = np.arange(256) / 255
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
        return cls(
            channels,
            height,
            width,
            tuple(mean.tolist()),
            tuple(std.tolist()),
            num_classes,
            num_extra,
        )


class Backbone(nn.Module, ABC):
    """A network with one linear head; scales its input by itself.

    Attributes:
        images: What it was built for.
    """

    def __init__(self, images: ImageSpec) -> None:
        """Take what the images look like."""
        super().__init__()
        self.images = images

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """Feature width D."""

    @property
    @abstractmethod
    def preprocessing(self) -> Mapping[str, Any]:
        """What happens to an image before the first layer, as plain values."""

    @abstractmethod
    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pooled features [N, D] and local features [N, P, D] or None.

        Args:
            images: Pixels scaled to [0, 1], [N, channels, H, W] float.
        """

    @abstractmethod
    def classify(self, pooled: Tensor) -> Tensor:
        """Logits of pooled features [N, D], [N, C + e]."""

    @abstractmethod
    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The head as arrays that the feature store keeps.

        Returns:
            `weight` [C, D] and `bias` [C]; where there are detector nodes `extra_weight` [e, D]
            and `extra_bias` [e]; where the last batch norm before pooling has width D its
            `bn_weight` and `bn_bias`, both [D].
        """

    @property
    def entry_name(self) -> str:
        """Name of the file it stands in, such as "cifar_resnet"."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def own_weights(self) -> bool:
        """Whether `fetch_weights` fills the whole network, head included."""
        return False

    def fetch_weights(self) -> None:
        """Take the published weights that the settings name; by default they name none.

        Raises:
            DataError: If the weights can neither be found nor downloaded, or do not fit.
        """

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of a published file as this network names them.

        Args:
            state: Tensors by bare name, without wrappers or "module.".

        Returns:
            The same tensors; names that the network does not know are left as they are.
        """
        return dict(state)

    def forward(self, images: Tensor) -> BackboneOutput:
        """Features and logits of `images`, [N, channels, H, W] float in [0, 1]."""
        pooled, local = self.embed(images)
        return BackboneOutput(pooled, self.classify(pooled), local)


class ScaledBackbone(Backbone):
    """A backbone that shifts and scales the channels and ends in one linear layer.

    Attributes:
        mean: Subtracted from images in [0, 1], [1, channels or 1, 1, 1].
        std: Divides them likewise.
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
        """Keep what scales the channels beside the weights.

        Args:
            images: What the images look like.
            mean: One value for each channel; None takes those of the images.
            std: Likewise, above 0.
            channels: Channels that the first layer wants, where grey images are repeated to
                make them; None wants those of the images.

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
        """What the first layer sees, of images [N, channels, H, W] in [0, 1]."""
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
        if self.images.num_extra:
            tensors["extra_weight"] = head.weight[num_classes:]
            tensors["extra_bias"] = head.bias[num_classes:]
        return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}


def check_std(name: str, std: tuple[float, ...] | None) -> None:
    """Refuse deviations that no pixel can be divided by.

    Args:
        name: The backbone's name, for the message.
        std: One value for each channel, or None.

    Raises:
        ConfigError: If there is no value, or one is not above 0.
    """
    if std is not None and (not std or min(std) <= 0):
        raise ConfigError(
            f"backbones.{name}.std is {list(std)}; pixels are divided by it, so give one value "
            "above 0 for each channel."
        )


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


def build_backbone(
    name: str, settings: Mapping[str, Any], images: ImageSpec, *, fetch: bool = True
) -> Backbone:
    """Build the entry `name` with its settings.

    Args:
        name: Name of the backbone.
        settings: Its settings.
        images: What it is built for.
        fetch: Take the published weights that the settings name; False where other weights
            follow anyhow.

    Returns:
        The backbone; freshly initialised where the settings name no weights.

    Raises:
        UnknownNameError: If there is no such backbone.
        ConfigError: If its settings are wrong.
        DataError: If the named weights can neither be found nor downloaded.
    """
    module = load("backbones", name)
    backbone: Backbone = module.Entry(parse(settings, module.Config, f"backbones.{name}"), images)
    if fetch:
        backbone.fetch_weights()
    return backbone
