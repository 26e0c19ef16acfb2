import sys

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from torch import nn

from ltood.backbones import timm_model
from ltood.backbones.timm_model import Config, Entry
from ltood.core.errors import ConfigError, DataError, MissingPackageError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.layers import chosen_layers
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.taps import last_maps
from ltood.networks.weights import assign_weights

NAME = "timm_model"
TINY = "test_resnet"


def spec(num_classes=5, side=32, channels=3, num_aux_outputs=0):
    half, quarter = (0.5,) * channels, (0.25,) * channels
    return ImageSpec(channels, side, side, half, quarter, num_classes, num_aux_outputs)


@pytest.mark.parametrize(
    ("model", "side", "width", "norm"),
    [
        (TINY, 32, 96, "layer4.0.bn2"),
        ("test_vit", 160, 64, None),
        ("test_efficientnet", 32, 256, "bn2"),
        ("mobilenetv3_small_050", 32, 1024, None),
    ],
)
def test_features_logits_and_last_norm(model, side, width, norm):
    backbone = Entry(Config(model), spec(side=side, num_aux_outputs=2)).eval()
    images = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        output = backbone(images)
        expected = backbone.net(backbone.scaled(images))
    assert output.pooled.shape == (2, width)
    torch.testing.assert_close(output.logits, expected)
    if norm is None:
        assert backbone.last_norm is None
        assert set(backbone.head_arrays()) == {"weight", "bias", "extra_weight", "extra_bias"}
    else:
        assert backbone.last_norm is backbone.net.get_submodule(norm)
        assert backbone.head_arrays()["bn_weight"].shape == (width,)


def test_scaling_is_the_models_own_unless_set():
    own = timm.create_model("test_vit").pretrained_cfg
    assert own["mean"] == (0.5, 0.5, 0.5)
    assert Entry(Config("test_vit"), spec(side=160)).preprocessing["mean"] == [0.5, 0.5, 0.5]
    mean = (0.25, 0.5, 0.75)
    assert Entry(Config(TINY, mean=mean), spec()).preprocessing["mean"] == list(mean)
    with pytest.raises(ConfigError, match=r"timm_model\.mean has 2 values"):
        Entry(Config(TINY, mean=mean[:2]), spec())


def test_building_leaves_no_trace_of_the_trial():
    torch.manual_seed(0)
    backbone = Entry(Config(TINY), spec())
    torch.manual_seed(0)
    bare = timm.create_model(TINY, num_classes=5)
    assert backbone.training
    assert not any(module._forward_hooks for module in backbone.modules())
    for name, value in bare.state_dict().items():
        assert torch.equal(backbone.net.state_dict()[name], value), name


def test_names_of_timm_are_translated():
    torch.manual_seed(1)
    published = timm.create_model(TINY, num_classes=5)
    backbone = Entry(Config(TINY), spec())
    assign_weights(backbone, published.state_dict(), "published")
    for name, value in published.state_dict().items():
        assert torch.equal(backbone.net.state_dict()[name], value), name
    other = Entry(Config(TINY), spec())
    assign_weights(other, backbone.state_dict(), "ours")
    assert torch.equal(other.linear_head.weight, backbone.linear_head.weight)


@pytest.fixture
def published(monkeypatch):
    """Stands for timm's cache."""
    torch.manual_seed(2)
    net = timm.create_model(TINY)
    monkeypatch.setattr(timm_model, "_published", lambda model: net.state_dict())
    return net


def test_own_weights_fill_the_whole_net(published, capsys):
    backbone = build_backbone(NAME, {"model": TINY, "pretrained": True}, spec(1000))
    assert backbone.own_weights
    assert torch.equal(backbone.linear_head.weight, published.get_classifier().weight)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("num_classes", "num_aux_outputs"), [(5, 0), (999, 1)])
def test_another_number_of_outputs_gets_a_fresh_head(
    published, capsys, num_classes, num_aux_outputs
):
    images = spec(num_classes, num_aux_outputs=num_aux_outputs)
    backbone = build_backbone(NAME, {"model": TINY, "pretrained": True}, images)
    assert not backbone.own_weights
    assert torch.equal(backbone.net.conv1[0].weight, published.conv1[0].weight)
    head = published.get_classifier().weight
    assert not torch.equal(backbone.linear_head.weight[:5], head[:5])
    assert "the head starts afresh" in capsys.readouterr().err


def test_nothing_is_fetched_unless_asked_for(monkeypatch):
    def fail(model):
        raise AssertionError(model)

    monkeypatch.setattr(timm_model, "_published", fail)
    assert not build_backbone(NAME, {"model": TINY}, spec()).own_weights
    build_backbone(NAME, {"model": TINY, "pretrained": True}, spec(), fetch=False)
    with pytest.raises(AssertionError, match=TINY):
        build_backbone(NAME, {"model": TINY, "pretrained": True}, spec())


def test_weights_that_cannot_be_had_are_explained(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"the weights of 'test_resnet' \(no route to host\)"):
        timm_model._published(TINY)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("resnet1818", r"'resnet1818', which timm .* does not have\. Did you mean resnet18"),
        ("test_resnet.absent", r"'test_resnet\.absent', which timm .* does not have"),
        ("zzzzzzzz", r"'zzzzzzzz', which timm [\d.]+ does not have\.$"),
        ("vgg11", r"cannot see images of 8 x 8 pixels \(Given input size"),
        ("levit_128s", r"last layer is tuple and not one linear layer"),
        ("resnetv2_50x1_bit", r"last layer is Conv2d and not one linear layer"),
    ],
)
def test_other_models_are_refused_by_name(model, sentence):
    side = {"levit_128s": 224, "vgg11": 8}.get(model, 32)
    with pytest.raises(ConfigError, match=sentence):
        Entry(Config(model), spec(side=side))


@pytest.mark.parametrize("model", ["resnet1818", "test_resnet.absent", "zzzz.a1_in1k"])
def test_unknown_models_are_refused_before_they_are_built(model):
    with pytest.raises(ConfigError, match=r"backbones\.timm_model\.model"):
        Config(model).look_up()


def test_models_without_published_weights_need_a_file_of_them():
    names = {name.partition(".")[0] for name in timm.list_pretrained()}
    bare = next(name for name in timm.list_models() if name not in names)
    Config(bare).look_up()
    Config("vit_small_patch16_224.dino", pretrained=True).look_up()
    with pytest.raises(ConfigError, match=r"training\.weights"):
        Config(bare, pretrained=True).look_up()


def test_logits_that_are_no_linear_layer_are_refused(monkeypatch):
    net = timm.create_model(TINY, num_classes=5)
    forward_head = type(net).forward_head

    def doubled(self, maps, pre_logits=False):
        found = forward_head(self, maps, pre_logits)
        return found if pre_logits else 2 * found

    monkeypatch.setattr(type(net), "forward_head", doubled)
    nn.init.ones_(net.get_classifier().bias)
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: net)
    with pytest.raises(ConfigError, match="whose logits are not one linear layer"):
        Entry(Config(TINY), spec())


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"backbones\.timm_model\.std is \[0\.0\]"):
        Config(std=(0.0,))
    with pytest.raises(ConfigError, match=r"model is 'hf-hub:a/b'"):
        Config("hf-hub:a/b")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r'pip install "ltood\[timm\]"'):
        Entry(Config(TINY), spec())


def test_images_are_brought_to_the_models_size():
    net = Entry(Config(model="vit_tiny_patch16_224"), spec())
    assert net.fixed_size  # arrays of 32 pixels are scaled too
    assert net.geometry.describe() == {
        "size": [224, 224],
        "mode": "centre_crop",
        "resize": 248,
        "interpolation": "bicubic",
    }
    assert not Entry(Config(model="test_resnet"), spec()).fixed_size


def test_images_with_a_border_are_refused(monkeypatch):
    net = timm.create_model(TINY, pretrained_cfg_overlay={"crop_mode": "border"})
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: net)
    with pytest.raises(ConfigError, match=r"'test_resnet'.*'border'"):
        Entry(Config(TINY), spec())


@pytest.mark.parametrize("model", [TINY, "test_vit", "resnet18"])
def test_geometry_equals_the_transform_of_timm(model):
    from timm.data import create_transform

    net = Entry(Config(model), spec(side=160))
    noise = np.random.default_rng(0).integers(0, 256, (190, 301, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    *geometric, _, _ = create_transform(**net.data_config).transforms
    for step in geometric:
        image = step(image)
    assert np.array_equal(net.geometry(Image.fromarray(noise), 0), np.asarray(image))


def test_layers_of_a_model_with_channels_last_are_refused():
    """Means over the wrong axes would look like features."""
    backbone = Entry(Config(TINY), spec(side=32)).eval()
    assert chosen_layers(backbone, ExtractionConfig())
    backbone.net.output_fmt = "NHWC"  # as Swin has it
    for layers in ("auto", ("net.layer1",)):
        with pytest.raises(ConfigError, match=r"extraction\.layers"):
            chosen_layers(backbone, ExtractionConfig(layers=layers))


@pytest.mark.parametrize(
    ("model", "places", "how"),
    [
        ("test_vit", 100, {"global_pool": "avg", "fc_norm": False}),
        ("mixer_s32_224", 49, {}),
        (
            "swin_tiny_patch4_window7_224",
            784,
            {"depths": (1, 1), "embed_dim": 24, "num_heads": (1, 2)},
        ),
    ],
)
def test_tokens_whose_mean_is_the_features_are_maps(monkeypatch, model, places, how):
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **more: create(name, **how, **more))
    net = Entry(Config(model=model), spec()).eval()
    images = torch.rand(2, 3, *net.geometry.size)
    with torch.no_grad():
        features, _ = net.embed(images)
        maps = last_maps(net, images, features, "maps")
    assert maps.shape == (*features.shape, *maps.shape[2:])
    assert maps[0, 0].numel() == places
    torch.testing.assert_close(maps.mean(dim=(2, 3)), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["test_vit", "test_convnext"])
def test_a_class_token_or_a_norm_of_the_mean_has_no_map(model):
    net = Entry(Config(model=model), spec()).eval()
    images = torch.rand(2, 3, *net.geometry.size)
    with torch.no_grad(), pytest.raises(ConfigError, match=r"mean.*extraction\.extras"):
        last_maps(net, images, net.embed(images)[0], "maps")
