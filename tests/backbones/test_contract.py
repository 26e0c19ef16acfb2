"""What every backbone owes, checked over every file of the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.registry import available, load, summary
from ltood.core.settings import to_section
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone

IMAGES = ImageSpec(1, 32, 32, (0.4,), (0.2,), 5, 2)
#: Where the defaults build a network of a size that no test needs.
SMALL = {"clip": {"model": str(Path(__file__).with_name("small_clip.json"))}}

WITH_HEAD = [name for name in available("backbones") if load("backbones", name).Entry.has_head]
every_backbone = pytest.mark.parametrize("name", available("backbones"))
with_head = pytest.mark.parametrize("name", WITH_HEAD)
without_head = pytest.mark.parametrize("name", sorted({*available("backbones")} - {*WITH_HEAD}))


def build(name: str, images: ImageSpec = IMAGES) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(name, SMALL.get(name, {}), images).eval()


def pixels(num: int = 4, channels: int = 1) -> torch.Tensor:
    return torch.rand(num, channels, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@every_backbone
def test_output_has_the_promised_shapes(name, channels):
    images = ImageSpec(channels, 32, 32, (0.4,) * channels, (0.2,) * channels, 5, 2)
    backbone = build(name, images)
    with torch.no_grad():
        pooled, local = backbone.embed(pixels(channels=channels))
    assert pooled.shape == (4, backbone.feature_dim)
    assert pooled.dtype == torch.float32
    assert (None if local is None else local.shape[1:]) == backbone.local_shape


@pytest.mark.parametrize("channels", [1, 3])
@with_head
def test_logits_have_the_promised_shapes(name, channels):
    images = ImageSpec(channels, 32, 32, (0.4,) * channels, (0.2,) * channels, 5, 2)
    backbone = build(name, images)
    with torch.no_grad():
        output = backbone(pixels(channels=channels))
        pooled, _ = backbone.embed(pixels(channels=channels))
    assert torch.equal(output.pooled, pooled)
    assert output.logits.shape == (4, 7)
    assert output.logits.dtype == torch.float32


@without_head
def test_without_a_head_logits_are_refused(name):
    backbone = build(name)
    assert backbone.head_arrays() == {}
    with pytest.raises(MissingNeedError, match=f"backbone {name} has no head"):
        backbone(pixels())


@with_head
def test_head_gives_the_logits(name):
    backbone = build(name)
    arrays = backbone.head_arrays()
    assert {"weight", "bias"} <= set(arrays)
    assert all(value.dtype == np.float32 for value in arrays.values())
    head = ClassifierHead.from_arrays(arrays)
    assert (head.num_classes, head.num_aux_outputs, head.dim) == (5, 2, backbone.feature_dim)
    with torch.no_grad():
        output = backbone(pixels())
        torch.testing.assert_close(output.logits[:, :5], head.logits(output.pooled))
        torch.testing.assert_close(output.logits[:, 5:], head.aux_outputs(output.pooled))


@every_backbone
def test_rows_do_not_see_one_another(name):
    # In float64, since float32 convolutions round by the batch size on some processors, which
    # fifty layers of random weights amplify to more than a small leak would.
    backbone, images = build(name).double(), pixels().double()
    with torch.no_grad():
        together, alone = backbone.embed(images)[0], backbone.embed(images[2:3])[0]
    torch.testing.assert_close(together[2:3], alone, rtol=1e-6, atol=1e-9)


@every_backbone
def test_input_is_left_unchanged(name):
    images = pixels()
    before = images.clone()
    build(name).embed(images)
    assert torch.equal(images, before)


@every_backbone
def test_preprocessing_is_plain(name):
    import json

    assert json.loads(json.dumps(build(name).preprocessing)) == build(name).preprocessing


@every_backbone
def test_equal_seeds_give_equal_weights(name):
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@with_head
def test_gradients_reach_every_parameter(name):
    backbone = build(name).train()
    for module in backbone.modules():
        # Some nets start their residual branches at zero, behind which no gradient gets at first.
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.any():
            torch.nn.init.ones_(module.weight)
    backbone(pixels()).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


@every_backbone
def test_defaults_stand_in_the_parameter_file(name, params):
    assert params["backbones"][name] == to_section(load("backbones", name).Config())


@every_backbone
def test_it_cites_a_source(name):
    assert summary("backbones", name)
    assert "Source:" in (load("backbones", name).__doc__ or "")
