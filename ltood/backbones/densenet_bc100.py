"""DenseNet-BC with 100 layers and growth 12, for 32x32 images.

Source: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
CVPR 2017 (arXiv:1608.06993), section 3: bottlenecks (B), compression by 0.5 (C), no dropout.
Three blocks of 16 layers; 769,162 parameters for 10 classes and 3 channels, 342 features. DICE,
LINe and HIMPLoS publish their CIFAR results on this net. Tensors are named as in the
checkpoints that Sun and Li offer with "DICE", ECCV 2022 (arXiv:2111.09805), so that
`load_published` takes them as they are.

Features are averages of rectified activations, so they are 0 or more.
"""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.backbone import Backbone, ImageSpec
from ltood.core.errors import ConfigError, DataError

GROWTH = 12
LAYERS_PER_BLOCK = 16
_PREFIX = "module."
_SCALING = ("mean", "std")


@dataclass(frozen=True)
class Config:
    """Settings of the DenseNet.

    Attributes:
        mean: Subtracted from each channel of images in [0, 1]; null takes it from the
            training images. The published checkpoints had (0.4914, 0.4822, 0.4465).
        std: Divides each channel likewise; null takes it from the training images. The
            published checkpoints had (0.2023, 0.1994, 0.2010).
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.std is not None and (not self.std or min(self.std) <= 0):
            raise ConfigError(
                f"backbones.densenet_bc100.std is {list(self.std)}; pixels are divided by it, so "
                "give one value above 0 for each channel."
            )


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


class DenseNetBC100(Backbone):
    """DenseNet-BC-100-12."""

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
        for name in _SCALING:
            given: tuple[float, ...] | None = getattr(config, name)
            values = getattr(images, name) if given is None else given
            if len(values) != images.channels:
                raise ConfigError(
                    f"backbones.densenet_bc100.{name} has {len(values)} values but the images "
                    f"have {images.channels} channels; give one per channel or null."
                )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))
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
        self.fc = nn.Linear(width + grown, images.num_classes + images.num_extra)

    @property
    def feature_dim(self) -> int:
        """Feature width D, 342."""
        return self.fc.in_features

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
        maps = self.conv1((images - self.mean) / self.std)
        maps = self.trans1(self.block1(maps))
        maps = self.trans2(self.block2(maps))
        maps = self.bn1(self.block3(maps)).relu()
        return maps.mean(dim=(2, 3)), None

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [N, C + e] of pooled features [N, D]."""
        logits: Tensor = self.fc(pooled)
        return logits

    def head_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Head and last batch norm, as `Backbone.head_arrays` describes them."""
        num_classes = self.images.num_classes
        tensors = {
            "weight": self.fc.weight[:num_classes],
            "bias": self.fc.bias[:num_classes],
            "bn_weight": self.bn1.weight,
            "bn_bias": self.bn1.bias,
        }
        if self.images.num_extra:
            tensors["extra_weight"] = self.fc.weight[num_classes:]
            tensors["extra_bias"] = self.fc.bias[num_classes:]
        return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}

    def load_published(self, path: Path) -> None:
        """Take the weights of a published checkpoint; every tensor must fit.

        Args:
            path: A file that `torch.save` wrote: tensors by name, bare or under the key
                "state_dict", each name with or without "module." before it. Nothing but
                tensors is unpickled.

        Raises:
            DataError: If the file is unreadable or its tensors are not those of this net.
        """
        tensors = _read_tensors(path)
        # The scaling is a setting of ours; published files do not hold it.
        scaling = {name: getattr(self, name) for name in _SCALING}
        try:
            self.load_state_dict({**scaling, **tensors}, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{path} holds other tensors than densenet_bc100 with {self.fc.out_features} "
                f"outputs and {self.images.channels} channels has ({reason}); choose the "
                "checkpoint of this net, or the number of classes it was trained with."
            ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by bare name."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as tensors ({reason}); give a file that torch.save wrote "
            "from a state dict."
        ) from error
    if isinstance(content, dict) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise DataError(f"{path} holds no tensors by name; save the net's state_dict().")
    return {name.removeprefix(_PREFIX): value for name, value in content.items()}


Entry = DenseNetBC100
