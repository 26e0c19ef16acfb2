"""Base of all backbones: images to features and logits, and a head to store.

A backbone entry (`ltood/backbones/<name>.py`) holds a frozen dataclass `Config` and a class
`Entry` that is a `Backbone` and is built as `Entry(config, images)`, where `images` says what
the images look like and how many outputs are wanted.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import DataError
from ltood.core.registry import load
from ltood.core.settings import parse

if TYPE_CHECKING:
    from ltood.images.decoding import Geometry
    from ltood.images.sources import ImageSource
    from ltood.images.views import RandomViews
    from ltood.networks.repositories import Repository

_BLOCK_ROWS = 4096
#: Image files that the pixel statistics of a split are taken from.
_SAMPLE = 1024


class BackboneOutput(NamedTuple):
    """Output of a backbone for a batch.

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
    """Form of the images that a backbone is built for.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        height: Pixels; 0 where images are files of any size.
        width: Pixels; 0 where images are files of any size.
        mean: Mean of each channel over the training images, scaled to [0, 1].
        std: Standard deviation of each channel, above 0.
        num_classes: Number of classes C.
        num_aux_outputs: Auxiliary outputs e of the head, such as a detector node.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    num_aux_outputs: int = 0

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
    def of_source(
        cls, source: "ImageSource", num_classes: int, *, num_aux_outputs: int = 0
    ) -> "ImageSpec":
        """Describe training images in memory, or files by a sample of at most 1,024 of them."""
        if source.pixels is not None:
            return cls.of(source.pixels, num_classes, num_aux_outputs=num_aux_outputs)
        from ltood.images.decoding import Geometry, decode

        rows = np.linspace(0, len(source) - 1, min(len(source), _SAMPLE)).astype(np.int64)
        sample = cls.of(
            decode(source, rows, Geometry((64, 64))), num_classes, num_aux_outputs=num_aux_outputs
        )
        return replace(sample, height=0, width=0)

    @classmethod
    def of(
        cls, images: NDArray[np.uint8], num_classes: int, *, num_aux_outputs: int = 0
    ) -> "ImageSpec":
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
            num_aux_outputs,
        )


class Backbone(nn.Module, ABC):
    """A network with one linear head; scales its input by itself.

    Attributes:
        images: What it was built for.
        repositories: Whose files it reads, and what they hold besides its tensors.
        has_head: Whether `classify` gives logits; where not, it raises and heads come from
            elsewhere.
    """

    repositories: ClassVar[tuple["Repository", ...]] = ()
    has_head: ClassVar[bool] = True

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
        """Preprocessing of an image before the first layer, as plain values."""

    @abstractmethod
    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pooled features [N, D] and local features [N, P, D] or None.

        Args:
            images: Pixels scaled to [0, 1], [N, channels, H, W] float.
        """

    def feature_maps(self, images: Tensor) -> Tensor | None:
        """Maps [N, D, H, W] whose mean over places is the features; None where there are none.

        Args:
            images: As `embed` takes them.
        """
        del images
        return None

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Submodules whose outputs are told apart as layers, such as stages, from first to last."""
        return ()

    @property
    def channels_lie_last(self) -> bool:
        """Whether inner maps are [N, H, W, channels], so that their places cannot be told."""
        return False

    @abstractmethod
    def classify(self, pooled: Tensor) -> Tensor:
        """Logits of pooled features [N, D], [N, C + e]."""

    @abstractmethod
    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The head as arrays that the feature store keeps; none where there is no head.

        Returns:
            `weight` [C, D] and `bias` [C]; where there are detector nodes `extra_weight` [e, D]
            and `extra_bias` [e]; where the last batch norm before pooling has width D its
            `bn_weight` and `bn_bias`, both [D].
        """

    @property
    def entry_name(self) -> str:
        """Name of its module, such as "cifar_resnet"."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def geometry(self) -> "Geometry | None":
        """Resizing of images to the size that the network expects; None for any size."""
        return None

    @property
    def fixed_size(self) -> bool:
        """Whether the network accepts only images of the size that `geometry` gives."""
        return False

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images that the network sees; 0 where it sees any."""
        if self.geometry is not None and (self.fixed_size or not self.images.height):
            return self.geometry.size
        return self.images.height, self.images.width

    @property
    def local_shape(self) -> tuple[int, int] | None:
        """Number P of patches and width of their features, where `embed` gives any."""
        return None

    def training_views(self, ids: NDArray[np.int64]) -> "RandomViews | None":
        """Augmented views to store for the training images with these ids, [N]."""
        return None

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of a published file as this network names them.

        Args:
            state: Tensors by bare name, without wrappers or "module.".

        Returns:
            The same tensors; names that the network does not know are left as they are.
        """
        return dict(state)

    def head_names(self) -> tuple[str, ...]:
        """Names of weight and bias of the linear head among the tensors; empty without one."""
        return ()

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """Look at tensors that fit by name and shape, before they are taken.

        Args:
            state: As `translate` takes it.

        Raises:
            ConfigError: If they are for a network that computes otherwise than this one is set.
            DataError: If they were made for another network.
        """

    def forward(self, images: Tensor) -> BackboneOutput:
        """Features and logits of `images`, [N, channels, H, W] float in [0, 1]."""
        pooled, local = self.embed(images)
        return BackboneOutput(pooled, self.classify(pooled), local)


class Pretrained(ABC):
    """A backbone whose settings can name published weights."""

    @property
    @abstractmethod
    def own_weights(self) -> bool:
        """Whether `fetch_weights` fills the whole network, head included."""

    @property
    def names_weights(self) -> bool:
        """Whether the settings name weights, whatever their head is for."""
        return self.own_weights

    @abstractmethod
    def fetch_weights(self) -> None:
        """Take the published weights that the settings name, if any.

        Raises:
            DataError: If the weights can neither be found nor downloaded, or do not fit.
        """


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
    if fetch and isinstance(backbone, Pretrained):
        backbone.fetch_weights()
    return backbone
