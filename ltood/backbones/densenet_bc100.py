"""DenseNet-BC with 100 layers and growth 12, for 32x32 images.

Source: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
CVPR 2017 (arXiv:1608.06993), section 3: bottlenecks (B), compression by 0.5 (C), no dropout.
Three blocks of 16 layers; 769,162 parameters for 10 classes and 3 channels, 342 features. DICE,
LINe and HIMPLoS publish their CIFAR results on this net. Tensors are named as in the
checkpoints that Sun and Li offer with "DICE", ECCV 2022 (arXiv:2111.09805), so that
`networks.weights.load_weights` takes them as they are.

Features are averages of rectified activations, so they are 0 or more.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.networks.backbone import ImageSpec
from ltood.networks.scaled import ScaledBackbone

GROWTH = 12
LAYERS_PER_BLOCK = 16


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the DenseNet.

    Attributes:
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images. The published checkpoints had (0.4914, 0.4822, 0.4465).
        std: Divides each channel after that; null takes it from the training images. The
            published checkpoints had (0.2023, 0.1994, 0.2010).
    """

    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None


class BottleneckLayer(nn.Module):
    """A 1x1 and a 3x3 convolution whose maps are appended to the input."""

    def __init__(self, width_in: int) -> None:
        """Build a layer for `width_in` channels."""
        super().__init__()
        inner = 4 * GROWTH
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, GROWTH, 3, 1, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [N, width_in + 12, H, W] of maps [N, width_in, H, W]."""
        inner = self.conv1(self.bn1(maps).relu())
        return torch.cat([maps, self.conv2(self.bn2(inner).relu())], dim=1)


class DenseBlock(nn.Module):
    """Sixteen layers, each fed with the maps of all before it."""

    def __init__(self, width_in: int) -> None:
        """Build a block for `width_in` channels."""
        super().__init__()
        widths = [width_in + GROWTH * number for number in range(LAYERS_PER_BLOCK)]
        self.layer = nn.Sequential(*(BottleneckLayer(width) for width in widths))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [N, width_in + 192, H, W] of maps [N, width_in, H, W]."""
        grown: Tensor = self.layer(maps)
        return grown


class Transition(nn.Module):
    """Half the channels, half the resolution."""

    def __init__(self, width_in: int) -> None:
        """Build a transition for `width_in` channels."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width_in // 2, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [N, width_in / 2, H / 2, W / 2] of maps [N, width_in, H, W]."""
        return nn.functional.avg_pool2d(self.conv1(self.bn1(maps).relu()), 2)


class DenseNetBC100(ScaledBackbone):
    """DenseNet-BC-100-12."""

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
        grown = GROWTH * LAYERS_PER_BLOCK
        width = 2 * GROWTH
        self.conv1 = nn.Conv2d(images.channels, width, 3, 1, 1, bias=False)
        self.block1 = DenseBlock(width)
        self.trans1 = Transition(width + grown)
        width = (width + grown) // 2
        self.block2 = DenseBlock(width)
        self.trans2 = Transition(width + grown)
        width = (width + grown) // 2
        self.block3 = DenseBlock(width)
        self.bn1 = nn.BatchNorm2d(width + grown)
        self.fc = nn.Linear(width + grown, images.num_classes + images.num_aux_outputs)

    @property
    def linear_head(self) -> nn.Linear:
        """The layer from 342 features to logits."""
        return self.fc

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm after the last block."""
        return self.bn1

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The three dense blocks."""
        return ("block1", "block2", "block3")

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        return self.feature_maps(images).float().mean(dim=(2, 3)), None

    def feature_maps(self, images: Tensor) -> Tensor:
        """Rectified output of the last norm, [N, D, H, W]."""
        maps = self.conv1(self.scaled(images))
        maps = self.trans1(self.block1(maps))
        maps = self.trans2(self.block2(maps))
        rectified: Tensor = self.bn1(self.block3(maps)).relu()
        return rectified


Entry = DenseNetBC100
