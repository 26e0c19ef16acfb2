"""ResNet-50 for images of ImageNet's kind, with torchvision's weights.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016
(arXiv:1512.03385), Table 1, in torchvision's form (the stride stands in the 3x3 convolution of a
block). 25,557,032 parameters for 1,000 classes, 2,048 features. The official ImageNet
checkpoints of PASCL, PATT and ImOOD hold this network and projection heads, which are skipped.

torchvision reports 76.13 % top-1 accuracy for IMAGENET1K_V1 and 80.86 % for IMAGENET1K_V2.
Features are averages of rectified activations, so they are 0 or more.
"""

from dataclasses import dataclass

from torch import nn

from ltood.networks.torchvision import TorchvisionBackbone, TorchvisionConfig


@dataclass(frozen=True)
class Config(TorchvisionConfig):
    """Settings of ResNet-50, as `TorchvisionConfig` describes them."""


class ResNet50(TorchvisionBackbone):
    """torchvision's ResNet-50."""

    model_name = "resnet50"
    head_name = "fc"
    norm_name = "layer4.2.bn3"
    map_name = "layer4"
    stage_names = ("layer1", "layer2", "layer3", "layer4")

    def take_out_head(self) -> None:
        """Pass the pooled maps on."""
        self.net.fc = nn.Identity()


Entry = ResNet50
