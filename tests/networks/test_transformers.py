"""torchvision's transformers, and the same weights in those of timm."""

import pytest
import timm
import torch
from torchvision.models import SwinTransformer, VisionTransformer

from ltood.backbones.timm_model import Config, Entry
from ltood.images.decoding import Geometry
from ltood.networks.backbone import ImageSpec
from ltood.networks.transformers import from_torchvision
from ltood.networks.weights import assign_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = ImageSpec(3, 0, 0, MEAN, STD, 7)
MODELS = {
    "vit_tiny_patch16_224": lambda: VisionTransformer(224, 16, 12, 3, 192, 768, num_classes=7),
    "swin_tiny_patch4_window7_224": lambda: SwinTransformer(
        [4, 4], 96, [2, 2, 6, 2], [3, 6, 12, 24], [7, 7], num_classes=7
    ),
}
every_model = pytest.mark.parametrize("model", MODELS)


@every_model
def test_every_tensor_has_the_name_and_shape_of_timm(model):
    with torch.device("meta"):
        official, ours = MODELS[model](), timm.create_model(model, num_classes=7)
    renamed = from_torchvision(official.state_dict())
    wanted = {name: value.shape for name, value in ours.state_dict().items()}
    assert {name: value.shape for name, value in renamed.items()} == wanted


@pytest.mark.slow
@every_model
def test_weights_of_torchvision_give_its_logits(model):
    official, rng = MODELS[model]().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Every tensor random, so that none can take another's place unseen.
        for value in official.parameters():
            value.copy_(0.05 * torch.randn(value.shape, generator=rng) + (value.ndim == 1))
    net = Entry(Config(model=model, mean=MEAN, std=STD), IMAGES).eval()
    assign_weights(net, official.state_dict(), "published")
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = official(net.scaled(images))
        torch.testing.assert_close(net(images).logits, theirs, rtol=1e-4, atol=1e-4)


def test_other_networks_keep_their_names():
    state = {"features.0.0.weight": torch.zeros(2, 3, 3, 3), "head.weight": torch.zeros(2, 2)}
    assert from_torchvision(state).keys() == state.keys()


def test_crops_may_be_those_of_other_weights():
    config = Config(model="resnet10t", resize=256, interpolation="bilinear")
    net = Entry(config, ImageSpec(3, 32, 32, MEAN, STD, 7))
    size = net.geometry.size
    assert net.geometry == Geometry(size, "centre_crop", 256, "bilinear")
    assert Entry(Config(model="resnet10t"), net.images).geometry.interpolation == "bicubic"
