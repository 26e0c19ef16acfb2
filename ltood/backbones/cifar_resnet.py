"""CIFAR ResNet: 3x3 stem without max-pooling, basic blocks, global average pooling.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016
(arXiv:1512.03385), Figure 5 left (the basic block) and Table 1 (18 and 34 layers). As in the
official PASCL, PATT and ImOOD code, the 7x7 stem and the pooling after it give way to one 3x3
convolution, so that 32x32 images keep their resolution in the first stage; 18 layers then have
11,173,962 parameters for 10 classes and 3 channels. The variant "small" is ours, for data that
must be learned within a minute on a CPU.

Features are averages of rectified activations, so they are 0 or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal

from torch import Tensor, nn

from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.networks.backbone import ImageSpec
from ltood.networks.repositories import IMOOD, PASCL, PATT, Repository
from ltood.networks.scaled import ScaledBackbone, rename

#: For each variant the width of the stem, then width, number of blocks and stride of each stage.
_STAGES: Mapping[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "small": (16, ((32, 1, 2), (64, 1, 2), (128, 1, 2))),
    "18": (64, ((64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2))),
    "34": (64, ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))),
}


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the CIFAR ResNet.

    Attributes:
        variant: "18" and "34" are the published nets; "small" is shallow and narrow.
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images.
        std: Divides each channel after that; null takes it from the training images.
    """

    variant: Literal["small", "18", "34"] = "small"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        """Build a block that maps `width_in` channels to `width`."""
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            projection = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps [N, width, H / stride, W / stride] of maps [N, width_in, H, W]."""
        inner = self.bn1(self.conv1(maps)).relu()
        rectified: Tensor = (self.bn2(self.conv2(inner)) + self.shortcut(maps)).relu()
        return rectified


class CifarResNet(ScaledBackbone):
    """ResNet for small images."""

    repositories: ClassVar[tuple[Repository, ...]] = (PASCL, PATT, IMOOD)

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
        width, stages = _STAGES[config.variant]
        self.stem = nn.Sequential(
            nn.Conv2d(images.channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks: list[BasicBlock] = []
        for stage_width, num_blocks, stride in stages:
            for block in range(num_blocks):
                blocks.append(BasicBlock(width, stage_width, stride if block == 0 else 1))
                width = stage_width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, images.num_classes + images.num_aux_outputs)

    @property
    def linear_head(self) -> nn.Linear:
        """The layer from 128 (small) or 512 features to logits."""
        return self.head

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The second norm of the last block."""
        last_block = self.blocks[-1]
        assert isinstance(last_block, BasicBlock)
        return last_block.bn2

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The last block of each stage."""
        ends = accumulate(num_blocks for _, num_blocks, _ in _STAGES[self.config.variant][1])
        return tuple(f"blocks.{end - 1}" for end in ends)

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        return self.feature_maps(images).float().mean(dim=(2, 3)), None

    def feature_maps(self, images: Tensor) -> Tensor:
        """Output of the last block, [N, D, H, W]."""
        maps: Tensor = self.blocks(self.stem(self.scaled(images)))
        return maps

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of PASCL, PATT, ImOOD and OpenOOD: four stages, `linear` or `fc`.

        Shortcuts may also be called as torchvision calls them, "downsample".
        """
        _, stages = _STAGES[self.config.variant]
        names = {"conv1.": "stem.0.", "bn1.": "stem.1.", "linear.": "head.", "fc.": "head."}
        number = 0
        for stage, (_, num_blocks, _) in enumerate(stages, start=1):
            for block in range(num_blocks):
                names[f"layer{stage}.{block}."] = f"blocks.{number}."
                number += 1
        bare = {name.replace(".downsample.", ".shortcut."): state[name] for name in state}
        return rename(bare, names)


Entry = CifarResNet
