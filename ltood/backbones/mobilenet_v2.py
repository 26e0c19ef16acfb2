"""MobileNetV2 for images of ImageNet's kind, with torchvision's weights.

Source: Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018 (arXiv:1801.04381), Table 2. 3,504,872 parameters for 1,000 classes,
1,280 features. While training, a fifth of the features is dropped before the head.

torchvision reports 71.88 % top-1 accuracy for IMAGENET1K_V1 and 72.15 % for IMAGENET1K_V2.
Features are averages of activations between 0 and 6.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ltood.networks.torchvision import TorchvisionBackbone, TorchvisionConfig

#: As in torchvision's training.
_DROPOUT = 0.2


@dataclass(frozen=True)
class Config(TorchvisionConfig):
    """Settings of MobileNetV2, as `TorchvisionConfig` describes them."""


class MobileNetV2(TorchvisionBackbone):
    """torchvision's MobileNetV2."""

    model_name = "mobilenet_v2"
    head_name = "classifier.1"
    norm_name = "features.18.1"
    map_name = "features"
    stage_names = ("features.3", "features.6", "features.13", "features.18")

    def take_out_head(self) -> None:
        """Pass the pooled maps on."""
        self.net.classifier = nn.Identity()

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [N, C + e] of pooled features [N, D]."""
        return super().classify(functional.dropout(pooled, _DROPOUT, self.training))


Entry = MobileNetV2
