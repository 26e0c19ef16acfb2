"""Batch norms that are part of convolutions give the same features, or are refused."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ltood.core.errors import ConfigError
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.folding import folded

SIDE = 16


def net_of(name, channels=3, seed=0, **entry):
    torch.manual_seed(seed)
    spec = ImageSpec(channels, SIDE, SIDE, (0.5,) * channels, (0.25,) * channels, 2)
    net = build_backbone(name, entry, spec)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # Far from what does nothing.
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.1, 3)
            nn.init.uniform_(module.weight, -1, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return net.eval().requires_grad_(False)


def norms(net):
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("name", "entry", "left"),
    [
        ("cifar_resnet", {"variant": "small"}, 0),
        ("densenet_bc100", {}, 51),
        pytest.param("resnet50", {}, 0, marks=pytest.mark.slow),
        ("timm_model", {"model": "test_resnet"}, 0),
    ],
)
def test_features_are_those_of_the_network(name, entry, left):
    net = net_of(name, **entry)
    before = copy.deepcopy(net.state_dict())
    made, images = folded(net), torch.rand(3, 3, SIDE, SIDE)
    assert norms(made) == left
    expected, found = net.embed(images)[0], made.embed(images)[0]
    scale = expected.abs().amax()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)
    maps = [made.feature_maps(images), net.feature_maps(images)]
    torch.testing.assert_close(*maps, rtol=1e-3, atol=1e-4 * float(maps[1].abs().amax()))
    assert set(net.state_dict()) == set(before)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert dict(made.named_modules()).keys() == dict(net.named_modules()).keys()


@settings(max_examples=10)
@given(channels=st.sampled_from((1, 3)), seed=st.integers(0, 99), rows=st.integers(1, 3))
def test_any_numbers_are_folded(channels, seed, rows):
    net = net_of("cifar_resnet", channels, seed, variant="small")
    images = torch.rand(rows, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    expected, found = net.embed(images)[0], folded(net).embed(images)[0]
    scale = expected.abs().amax().clamp(min=1e-6)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)


def test_weights_keep_their_layout():
    net = net_of("cifar_resnet").to(memory_format=torch.channels_last)
    for module in folded(net).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)


def embedding_of(net, monkeypatch, embed):
    monkeypatch.setattr(type(net), "embed", embed)
    return net


def test_networks_without_such_norms_are_refused():
    net = net_of("timm_model", model="test_vit")
    with pytest.raises(ConfigError, match=r"extraction\.fold_batch_norm"):
        folded(net)


def test_networks_that_cannot_be_followed_are_refused(monkeypatch):
    def embed(net, images):
        return (images if images.sum() > 0 else -images).mean(dim=(2, 3)), None

    net = embedding_of(net_of("cifar_resnet"), monkeypatch, embed)
    with pytest.raises(ConfigError, match="cannot follow"):
        folded(net)


def test_networks_that_read_their_weights_otherwise_are_refused(monkeypatch):
    def embed(net, images):
        maps = net.stem(net.scaled(images))
        return maps.mean(dim=(2, 3)) + net.stem[0].weight.sum(), None

    net = embedding_of(net_of("cifar_resnet"), monkeypatch, embed)
    with pytest.raises(ConfigError, match="other features"):
        folded(net)


def test_a_convolution_that_others_read_keeps_its_numbers(monkeypatch):
    def embed(net, images):
        maps = net.stem[0](net.scaled(images))
        return net.blocks(net.stem[1](maps) + maps).mean(dim=(2, 3)), None

    net = embedding_of(net_of("cifar_resnet"), monkeypatch, embed)
    made = folded(net)
    assert norms(made) == 1
    assert torch.equal(made.stem[0].weight, net.stem[0].weight)
