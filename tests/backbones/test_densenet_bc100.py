import pytest
import torch

from ltood.backbones.densenet_bc100 import BottleneckLayer, Config, Entry, Transition
from ltood.core.errors import ConfigError
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import load_weights

RGB = ImageSpec(3, 32, 32, (0.49, 0.48, 0.45), (0.20, 0.20, 0.20), 10)


@pytest.fixture(scope="module")
def net():
    return Entry(Config(), RGB).eval()


@pytest.mark.parametrize(("num_classes", "number"), [(10, 769_162), (100, 800_032)])
def test_published_numbers_of_parameters(num_classes, number):
    images = ImageSpec(3, 32, 32, RGB.mean, RGB.std, num_classes)
    net = Entry(Config(), images)
    assert sum(p.numel() for p in net.parameters()) == number
    assert net.feature_dim == 342


def test_new_maps_come_after_the_input(net):
    layer = BottleneckLayer(24).eval()
    maps = torch.rand(2, 24, 8, 8)
    grown = layer(maps)
    assert grown.shape == (2, 36, 8, 8)
    torch.testing.assert_close(grown[:, :24], maps)


def test_a_transition_halves_channels_and_sides():
    assert Transition(216).eval()(torch.rand(1, 216, 32, 32)).shape == (1, 108, 16, 16)


def test_features_are_rectified_averages_and_feed_the_head(net):
    with torch.inference_mode():
        output = net(torch.rand(2, 3, 32, 32))
    assert output.pooled.shape == (2, 342)
    assert (output.pooled >= 0).all()
    head = net.head_arrays()
    expected = output.pooled @ torch.tensor(head["weight"]).T + torch.tensor(head["bias"])
    torch.testing.assert_close(output.logits, expected)
    assert head["bn_weight"].shape == (342,)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_files_load_strictly(net, tmp_path, prefix, wrapped):
    tensors = {
        f"{prefix}{name}": value
        for name, value in net.state_dict().items()
        if name not in ("mean", "std")
    }
    torch.save({"state_dict": tensors} if wrapped else tensors, tmp_path / "net.pth")
    other = Entry(Config(), RGB).eval()
    load_weights(other, tmp_path / "net.pth")
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(other(images).logits, net(images).logits)


def test_bad_scaling_is_refused():
    with pytest.raises(ConfigError, match=r"densenet_bc100\.std is \[0\.0\]"):
        Config(std=(0.0,))
    with pytest.raises(ConfigError, match=r"mean has 1 values but the images have 3 channels"):
        Entry(Config(mean=(0.5,)), RGB)
