import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from ltood.backbones.resnet50 import Config, Entry
from ltood.core.errors import DataError
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import assign_weights

RGB = ImageSpec(3, 32, 32, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 10)


@pytest.fixture(scope="module")
def net():
    return Entry(Config(), RGB).eval()


def test_published_number_of_parameters():
    with torch.device("meta"):
        net = Entry(Config(), ImageSpec(3, 224, 224, RGB.mean, RGB.std, 1000))
    assert sum(p.numel() for p in net.parameters()) == 25_557_032
    assert net.feature_dim == 2048


def test_last_norm_stands_before_pooling(net):
    last_block = [module for module in net.modules() if hasattr(module, "bn3")][-1]
    assert net.last_norm is last_block.bn3
    assert isinstance(net.last_norm, nn.BatchNorm2d)
    assert net.head_arrays()["bn_weight"].shape == (2048,)


def test_features_are_rectified_averages(net):
    with torch.inference_mode():
        assert (net(torch.rand(2, 3, 32, 32)).pooled >= 0).all()


def test_official_files_give_the_official_logits(net, capsys):
    """PASCL, PATT and ImOOD: torchvision's names, and parts that only training needs."""
    official = resnet50(num_classes=10).eval()
    extra = ("finalScore", "projection.0.weight", "projection.1.running_mean", "aux_linear.bias")
    state = official.state_dict() | {name: torch.zeros(1) for name in extra}
    assign_weights(net, state, "published")
    assert f"neither features nor logits need it: {', '.join(extra)}" in capsys.readouterr().err
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(images).logits, official(net.scaled(images)))
        pooled, _ = net.embed(images)
        torch.testing.assert_close(official.fc(pooled), official(net.scaled(images)))


def test_weights_of_another_net_are_refused(net):
    state = resnet50(num_classes=10).state_dict() | {"layer5.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(DataError, match=r"also holds layer5\.0\.conv1\.weight"):
        assign_weights(net, state, "published")
