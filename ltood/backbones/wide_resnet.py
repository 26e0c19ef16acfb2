"""Wide ResNet for 32x32 images: few pre-activated layers, many channels.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv:1605.07146), Table 1
and section 2.4 (dropout between the two convolutions of a block). "40-2" has 2,243,546
parameters and 128 features for 10 classes and 3 channels, "28-10" has 36,479,194 and 640.
Convolutions start as in the authors' code: normal, with a variance of 2 over kernel area times
channels out. Outlier exposure and energy fine-tuning publish their CIFAR results on 40-2.
Tensors are named as there and in OpenOOD, but for the shortcut, which `translate` renames.

Features are averages of rectified activations, so they are 0 or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ltood.core.limits import Decay, Positive
from ltood.core.settings import Settings
from ltood.networks.backbone import ImageSpec
from ltood.networks.scaled import ScaledBackbone

#: For each variant the blocks of a stage, (depth - 4) / 6, and the widening factor.
_SHAPES: Mapping[str, tuple[int, int]] = {"40-2": (6, 2), "28-10": (4, 10)}
_STEM = 16


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the Wide ResNet.

    Attributes:
        variant: Depth and widening factor.
        dropout: Share of activations dropped between the two convolutions of a block while
            training, 0 or more and below 1. The paper takes 0.3.
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images.
        std: Divides each channel after that; null takes it from the training images.
    """

    variant: Literal["40-2", "28-10"] = "40-2"
    dropout: Decay = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None


class WideBlock(nn.Module):
    """Norm, rectifier and 3x3 convolution, twice, with a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, dropout: float) -> None:
        """Build a block that maps `width_in` channels to `width`."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if width_in != width:
            self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)
        self.dropout = dropout

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps [N, width, H / stride, W / stride] of maps [N, width_in, H, W]."""
        activated = self.bn1(maps).relu()
        # A projection sees the activated maps, an identity the maps as they came.
        shortcut = maps if self.shortcut is None else self.shortcut(activated)
        inner = self.bn2(self.conv1(activated)).relu()
        inner = functional.dropout(inner, self.dropout, self.training)
        added: Tensor = shortcut + self.conv2(inner)
        return added


class WideStage(nn.Module):
    """Blocks of one resolution."""

    def __init__(
        self, num_blocks: int, width_in: int, width: int, stride: int, dropout: float
    ) -> None:
        """Build a stage whose first block changes width and resolution."""
        super().__init__()
        first = WideBlock(width_in, width, stride, dropout)
        others = (WideBlock(width, width, 1, dropout) for _ in range(num_blocks - 1))
        self.layer = nn.Sequential(first, *others)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps [N, width, H / stride, W / stride] of maps [N, width_in, H, W]."""
        through: Tensor = self.layer(maps)
        return through


class WideResNet(ScaledBackbone):
    """Wide ResNet with three stages."""

    def __init__(self, config: Config, images: ImageSpec) -> None:
        """Build the net with fresh weights.

        Args:
            config: Settings.
            images: Channels, pixel statistics and numbers of outputs.

        Raises:
            ConfigError: If mean or std have another number of channels than the images.
        """
        super().__init__(images, config.mean, config.std)
        self.config = config
        num_blocks, widening = _SHAPES[config.variant]
        widths = [_STEM, *(widening * _STEM * 2**stage for stage in range(3))]
        self.conv1 = nn.Conv2d(images.channels, _STEM, 3, 1, 1, bias=False)
        self.block1 = WideStage(num_blocks, widths[0], widths[1], 1, config.dropout)
        self.block2 = WideStage(num_blocks, widths[1], widths[2], 2, config.dropout)
        self.block3 = WideStage(num_blocks, widths[2], widths[3], 2, config.dropout)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], images.num_classes + images.num_aux_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def linear_head(self) -> nn.Linear:
        """The layer from 128 (40-2) or 640 features to logits."""
        return self.fc

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm after the last stage."""
        return self.bn1

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The three stages."""
        return ("block1", "block2", "block3")

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        return self.feature_maps(images).float().mean(dim=(2, 3)), None

    def feature_maps(self, images: Tensor) -> Tensor:
        """Rectified output of the last norm, [N, D, H, W]."""
        maps = self.block3(self.block2(self.block1(self.conv1(self.scaled(images)))))
        rectified: Tensor = self.bn1(maps).relu()
        return rectified

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the shortcuts of the published files."""
        return {
            name.replace(".convShortcut.", ".shortcut."): value for name, value in state.items()
        }


Entry = WideResNet
