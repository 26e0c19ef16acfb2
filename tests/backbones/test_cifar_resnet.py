import pytest
import torch
from torch.nn import functional
from torchvision.models import resnet18

from ltood.backbones.cifar_resnet import BasicBlock, Config, Entry
from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import assign_weights

RGB = ImageSpec(3, 32, 32, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 10)


@pytest.mark.parametrize(("variant", "number"), [("18", 11_173_962), ("34", 21_282_122)])
def test_published_numbers_of_parameters(variant, number):
    net = Entry(Config(variant), RGB)
    assert sum(p.numel() for p in net.parameters()) == number
    assert net.feature_dim == 512


def test_published_resolution_of_each_stage():
    net = Entry(Config("18"), RGB).eval()
    maps, shapes = net.stem(torch.rand(1, 3, 32, 32)), []
    for block in net.blocks:
        maps = block(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes[1::2] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_block_equals_its_equation():
    block = BasicBlock(4, 6, 2).eval()
    maps = torch.rand(2, 4, 8, 8)
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)

    def norm(values, bn):
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        shift = bn.bias - bn.running_mean * scale
        return values * scale[:, None, None] + shift[:, None, None]

    inner = functional.conv2d(maps, block.conv1.weight, stride=2, padding=1)
    inner = norm(inner, block.bn1).clamp(min=0)
    inner = norm(functional.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
    convolution, bn = block.shortcut
    shortcut = norm(functional.conv2d(maps, convolution.weight, stride=2), bn)
    torch.testing.assert_close(block(maps), (inner + shortcut).clamp(min=0))


def test_identity_shortcut_where_the_shape_stays():
    assert isinstance(BasicBlock(4, 4, 1).shortcut, torch.nn.Identity)
    assert not isinstance(BasicBlock(4, 4, 2).shortcut, torch.nn.Identity)


def test_scaling_is_part_of_the_net():
    torch.manual_seed(0)
    net = Entry(Config(), RGB).eval()
    torch.manual_seed(0)
    bare = Entry(Config(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), RGB).eval()
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (RGB.mean, RGB.std))
    with torch.no_grad():
        torch.testing.assert_close(net(images).logits, bare((images - mean) / std).logits)
    assert net.preprocessing["mean"] == pytest.approx(RGB.mean)
    assert bare.preprocessing["std"] == [1, 1, 1]


def test_last_norm_is_the_one_before_pooling():
    net = Entry(Config("18"), RGB)
    arrays = net.head_arrays()
    assert set(arrays) == {"weight", "bias", "bn_weight", "bn_bias"}
    with torch.no_grad():
        net.blocks[-1].bn2.bias.fill_(3.0)
        net.blocks[-1].bn2.weight.fill_(2.0)
    assert (net.head_arrays()["bn_bias"] == 3).all()
    assert (net.head_arrays()["bn_weight"] == 2).all()


def test_features_are_averages_of_rectified_maps():
    net = Entry(Config(), RGB).eval()
    assert (net(torch.rand(2, 3, 32, 32)).pooled >= 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"variant": "50"}, r"variant is '50'"),
        ({"variant": 18}, r"variant is 18"),
        ({"std": [0.2, 0.0, 0.1]}, r"std is \[0\.2, 0\.0, 0\.1\]"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "backbones.cifar_resnet")


def test_a_variant_given_in_python_is_checked_too():
    with pytest.raises(ConfigError, match=r"variant is '50'"):
        Config("50")


@pytest.mark.parametrize("name", ["mean", "std"])
def test_statistics_of_another_number_of_channels_are_refused(name):
    with pytest.raises(ConfigError, match=rf"{name} has 1 values but the images have 3 channels"):
        Entry(Config(**{name: (0.5,)}), RGB)


def official_state(net, head):
    """The tensors of `net` under the names of PASCL, PATT, ImOOD (linear) and OpenOOD (fc)."""
    blocks = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}[net.config.variant]
    starts = [f"layer{stage}.{n}" for stage, num in enumerate(blocks, 1) for n in range(num)]
    state = {}
    for name, value in net.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "stem":
            number, _, rest = rest.partition(".")
            state[f"{('conv1', 'bn1')[int(number)]}.{rest}"] = value
        elif part == "blocks":
            number, _, rest = rest.partition(".")
            state[f"{starts[int(number)]}.{rest}"] = value
        elif part == "head":
            state[f"{head}.{rest}"] = value
    return state


@pytest.mark.parametrize("variant", ["18", "34"])
@pytest.mark.parametrize("head", ["linear", "fc"])
def test_official_layouts_are_translated(variant, head, capsys):
    published, net = Entry(Config(variant), RGB), Entry(Config(variant), RGB)
    state = official_state(published, head) | {"finalScore": torch.zeros(512)}
    assert {"conv1.weight", "layer4.1.bn2.bias", "layer2.0.shortcut.0.weight"} < set(state)
    assign_weights(net, state, "published")
    for name, value in published.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert "skipped, as neither features nor logits need it: finalScore" in capsys.readouterr().err


def test_shortcuts_may_have_the_name_of_torchvision():
    published, net = Entry(Config("18"), RGB), Entry(Config("18"), RGB)
    state = official_state(published, "fc")
    renamed = {name.replace("shortcut", "downsample"): value for name, value in state.items()}
    assert "layer2.0.downsample.0.weight" in renamed
    assign_weights(net, renamed, "published")
    assert torch.equal(net.blocks[2].shortcut[0].weight, published.blocks[2].shortcut[0].weight)


def test_a_net_for_larger_images_is_refused():
    state = resnet18(num_classes=10).state_dict()
    with pytest.raises(
        DataError, match=r"stem\.0\.weight is \[64, 3, 7, 7\] in the file and \[64, 3, 3, 3"
    ):
        assign_weights(Entry(Config("18"), RGB), state, "torchvision")


def test_another_depth_is_refused():
    deeper = Entry(Config("34"), RGB)
    with pytest.raises(DataError, match=r"also holds layer1\.2\.conv1\.weight"):
        assign_weights(Entry(Config("18"), RGB), official_state(deeper, "linear"), "published")
