"""A CLIP of a few numbers, copied among the backbones where a test wants text and no minutes.

Source: none; random weights that depend on nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ltood.networks.backbone import Backbone, ImageSpec, Pretrained


@dataclass(frozen=True)
class Config:
    """No settings."""


class TinyClip(Backbone, Pretrained):
    def __init__(self, config: Config, images: ImageSpec) -> None:
        from open_clip.model import CLIP

        super().__init__(images)
        vision = {"image_size": 28, "layers": 1, "width": 32, "patch_size": 14, "head_width": 32}
        text = {
            "context_length": 24,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        }
        self.clip = CLIP(8, vision, text, quick_gelu=True)

    @property
    def own_weights(self) -> bool:
        return True

    def fetch_weights(self) -> None:
        rng = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for value in self.clip.parameters():
                value.copy_(0.3 * torch.randn(value.shape, generator=rng))
            self.clip.logit_scale.fill_(4.6)

    @property
    def feature_dim(self) -> int:
        return 8

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        return {"scale": "uint8 / 255"}

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return normalize(self.clip.encode_image(images.expand(-1, 3, -1, -1)), dim=1), None

    def classify(self, pooled: Tensor) -> Tensor:
        return pooled.new_zeros(len(pooled), self.images.num_classes)

    def head_arrays(self) -> dict[str, np.ndarray]:
        num = self.images.num_classes
        return {"weight": np.zeros((num, 8), np.float32), "bias": np.zeros(num, np.float32)}


Entry = TinyClip
