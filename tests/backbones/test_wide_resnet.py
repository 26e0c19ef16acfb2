import pytest
import torch
from torch.nn import functional

from ltood.backbones.wide_resnet import Config, Entry, WideBlock
from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import assign_weights

RGB = ImageSpec(3, 32, 32, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 10)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Entry(Config(), RGB).eval()


@pytest.mark.parametrize(
    ("variant", "number", "width"), [("40-2", 2_243_546, 128), ("28-10", 36_479_194, 640)]
)
def test_published_numbers_of_parameters(variant, number, width):
    with torch.device("meta"):
        net = Entry(Config(variant), RGB)
    assert sum(p.numel() for p in net.parameters()) == number
    assert net.feature_dim == width


def test_the_name_counts_the_layers(net):
    # The paper's depth: stem, 3 stages x 6 blocks x 2 convolutions, and 3 projections.
    assert sum(isinstance(module, torch.nn.Conv2d) for module in net.modules()) == 40


def test_published_resolution_of_each_stage(net):
    maps, shapes = net.conv1(torch.rand(1, 3, 32, 32)), []
    for stage in (net.block1, net.block2, net.block3):
        maps = stage(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


@pytest.mark.parametrize(("width", "stride"), [(4, 1), (6, 2)])
def test_block_equals_its_equation(width, stride):
    block = WideBlock(4, width, stride, 0.0).eval()
    maps = torch.randn(2, 4, 8, 8)
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.weight)

    def activated(values, bn):
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        shift = bn.bias - bn.running_mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    first = activated(maps, block.bn1)
    inner = functional.conv2d(first, block.conv1.weight, stride=stride, padding=1)
    inner = functional.conv2d(activated(inner, block.bn2), block.conv2.weight, padding=1)
    beside = maps if width == 4 else functional.conv2d(first, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(maps), inner + beside, rtol=1e-4, atol=1e-5)


def test_convolutions_start_with_the_published_variance():
    weight = Entry(Config(), RGB).block3.layer[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


def test_dropout_acts_only_in_training():
    block = WideBlock(4, 4, 1, 0.5)
    maps = torch.rand(2, 4, 8, 8)
    torch.manual_seed(0)
    first, second = block(maps), block(maps)
    assert not torch.equal(first, second)
    block.eval()
    assert torch.equal(block(maps), block(maps))


def test_features_are_rectified_averages_and_the_last_norm_is_theirs(net):
    with torch.inference_mode():
        assert (net(torch.rand(2, 3, 32, 32)).pooled >= 0).all()
    assert net.last_norm is net.bn1
    assert net.head_arrays()["bn_weight"].shape == (128,)


def test_published_layout_is_translated(net):
    published = {
        name.replace(".shortcut.", ".convShortcut."): value
        for name, value in net.state_dict().items()
        if name not in ("mean", "std")
    }
    assert "block1.layer.0.convShortcut.weight" in published
    other = Entry(Config(), RGB).eval()
    assign_weights(other, published, "published")
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(other(images).logits, net(images).logits)


def test_another_shape_is_refused(net):
    with torch.device("meta"):
        wider = Entry(Config("28-10"), RGB)
    with pytest.raises(DataError, match="does not hold the weights of wide_resnet"):
        assign_weights(wider, net.state_dict(), "published")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"variant": "16-8"}, r"variant is '16-8'"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
        ({"std": [0.0]}, r"std is \[0\.0\]"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "backbones.wide_resnet")


def test_a_variant_given_in_python_is_checked_too():
    with pytest.raises(ConfigError, match=r"variant is '16-8'"):
        Config("16-8")
