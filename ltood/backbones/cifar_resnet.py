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
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.backbone import Backbone, ImageSpec
from ltood.core.errors import ConfigError

#: For each variant the width of the stem, then width, number of blocks and stride of each stage.
_STAGES: Mapping[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "small": (16, ((32, 1, 2), (64, 1, 2), (128, 1, 2))),
    "18": (64, ((64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2))),
    "34": (64, ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))),
}


@dataclass(frozen=True)
class Config:
    """Settings of the CIFAR ResNet.

    Attributes:
        variant: "18" and "34" are the published nets; "small" is shallow and narrow.
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images.
        std: Divides each channel likewise; null takes it from the training images.
    """

    variant: Literal["small", "18", "34"] = "small"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.variant not in _STAGES:
            raise ConfigError(
                f"backbones.cifar_resnet.variant is {self.variant!r}; set it to "
                f"{', '.join(_STAGES)} (in quotes)."
            )
        if self.std is not None and (not self.std or min(self.std) <= 0):
            raise ConfigError(
                f"backbones.cifar_resnet.std is {list(self.std)}; pixels are divided by it, so "
                "give one value above 0 for each channel."
            )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

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


class CifarResNet(Backbone):
    """ResNet for small images."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, images: ImageSpec) -> None:
        """Build the net with fresh weights.

        Args:
            config: Settings.
            images: Channels, pixel statistics and numbers of outputs.

        Raises:
            ConfigError: If mean or std have another number of channels than the images.
        """
        super().__init__(images)
        self.config = config
        for name in ("mean", "std"):
            given: tuple[float, ...] | None = getattr(config, name)
            values = getattr(images, name) if given is None else given
            if len(values) != images.channels:
                raise ConfigError(
                    f"backbones.cifar_resnet.{name} has {len(values)} values but the images have "
                    f"{images.channels} channels; give one per channel or null."
                )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))
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
        self.head = nn.Linear(width, images.num_classes + images.num_extra)

    @property
    def feature_dim(self) -> int:
        """Feature width D: 128 for small, else 512."""
        return self.head.in_features

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Scale and shift of each channel."""
        return {
            "scale": "uint8 / 255",
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def embed(self, images: Tensor) -> tuple[Tensor, None]:
        """Pooled features, [N, D], of images [N, channels, H, W] in [0, 1]; no local ones."""
        maps = self.blocks(self.stem((images - self.mean) / self.std))
        return maps.mean(dim=(2, 3)), None

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [N, C + e] of pooled features [N, D]."""
        logits: Tensor = self.head(pooled)
        return logits

    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Head and last batch norm, as `Backbone.head_arrays` describes them."""
        num_classes = self.images.num_classes
        last_block = self.blocks[-1]
        assert isinstance(last_block, BasicBlock)
        tensors = {
            "weight": self.head.weight[:num_classes],
            "bias": self.head.bias[:num_classes],
            "bn_weight": last_block.bn2.weight,
            "bn_bias": last_block.bn2.bias,
        }
        if self.images.num_extra:
            tensors["extra_weight"] = self.head.weight[num_classes:]
            tensors["extra_bias"] = self.head.bias[num_classes:]
        return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}


Entry = CifarResNet
