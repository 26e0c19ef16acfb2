import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model, get_model_weights

from ltood.backbones.mobilenet_v2 import Config, Entry
from ltood.core.errors import ConfigError, DataError
from ltood.networks import torchvision as torchvision_backbone
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import load_checkpoint, write_checkpoint
from ltood.networks.torchvision import IMAGENET_MEAN, IMAGENET_STD, _fetch

NAME = "mobilenet_v2"


def spec(num_classes, channels=3, num_aux_outputs=0):
    return ImageSpec(
        channels, 32, 32, (0.5,) * channels, (0.25,) * channels, num_classes, num_aux_outputs
    )


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    return get_model(NAME, weights=None).eval()


@pytest.fixture
def published(official, tmp_path, monkeypatch):
    """Stands for the cache: whatever is asked for is the official net's file."""
    path = tmp_path / "weights.pth"
    torch.save(official.state_dict(), path)
    monkeypatch.setattr(torchvision_backbone, "_fetch", lambda url, where: path)


@pytest.mark.usefixtures("published")
def test_named_weights_give_the_official_logits(official, capsys):
    backbone = build_backbone(NAME, {"weights": "IMAGENET1K_V1"}, spec(1000)).eval()
    assert backbone.own_weights
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images).logits, official((images - mean) / std))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("num_classes", "num_aux_outputs"), [(5, 0), (1000, 1), (999, 1)])
def test_another_number_of_outputs_gets_a_fresh_head(
    official, capsys, num_classes, num_aux_outputs
):
    torch.manual_seed(1)
    images = spec(num_classes, num_aux_outputs=num_aux_outputs)
    backbone = build_backbone(NAME, {"weights": "IMAGENET1K_V2"}, images)
    assert not backbone.own_weights
    first = official.features[0][0].weight
    assert torch.equal(backbone.net.features[0][0].weight, first)
    assert not torch.equal(backbone.head.weight[:5], official.classifier[1].weight[:5])
    said = "the head starts afresh"
    assert said in capsys.readouterr().err


def test_nothing_is_fetched_unless_named_or_wanted(monkeypatch):
    def fail(url, where):
        raise AssertionError(url)

    monkeypatch.setattr(torchvision_backbone, "_fetch", fail)
    assert not build_backbone(NAME, {}, spec(5)).own_weights
    build_backbone(NAME, {"weights": "IMAGENET1K_V1"}, spec(5), fetch=False)
    with pytest.raises(AssertionError, match=r"mobilenet_v2-b0353104\.pth"):
        build_backbone(NAME, {"weights": "IMAGENET1K_V1"}, spec(5))


def test_a_checkpoint_needs_no_published_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_backbone, "_fetch", lambda url, where: 1 / 0)
    settings = {"weights": "IMAGENET1K_V1"}
    backbone = build_backbone(NAME, settings, spec(5), fetch=False)
    write_checkpoint(tmp_path, backbone, {"backbone": {"name": NAME, "settings": settings}})
    rebuilt, _ = load_checkpoint(tmp_path)
    assert torch.equal(rebuilt.head.weight, backbone.head.weight)


def test_grey_images_are_repeated():
    grey, coloured = Entry(Config(), spec(5, channels=1)).eval(), Entry(Config(), spec(5)).eval()
    coloured.load_state_dict(grey.state_dict())
    images = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = coloured(images.repeat(1, 3, 1, 1)).logits
        torch.testing.assert_close(grey(images).logits, expected)
    own = Entry(Config(mean=None, std=None), spec(5, channels=1))
    assert own.preprocessing["mean"] == [0.5]
    with pytest.raises(ConfigError, match=r"mobilenet_v2\.mean has 2 values"):
        Entry(Config(mean=(0.1, 0.2)), spec(5))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_geometry_is_that_of_the_weights(name, weights):
    backbone = build_backbone(name, {"weights": weights}, spec(5), fetch=False)
    official = get_model_weights(name)[weights].transforms()
    assert (list(backbone.geometry.size), backbone.geometry.mode) == ([224, 224], "centre_crop")
    assert official.crop_size == [224]
    assert official.resize_size == [backbone.geometry.resize]
    assert official.interpolation.value == backbone.geometry.interpolation
    assert backbone.preprocessing["mean"] == pytest.approx(official.mean)
    assert backbone.preprocessing["std"] == pytest.approx(official.std)
    noise = np.random.default_rng(0).integers(0, 256, (240, 301, 3), dtype=np.uint8)
    scaled = torch.tensor(backbone.geometry(Image.fromarray(noise), 0)).permute(2, 0, 1) / 255
    expected = official(Image.fromarray(noise))
    torch.testing.assert_close(backbone.scaled(scaled[None])[0], expected, rtol=0, atol=1e-6)


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"backbones\.mobilenet_v2\.std is \[0\.0\]"):
        Config(std=(0.0,))
    with pytest.raises(ConfigError, match=r"weights is 'V1'; it must be 'IMAGENET1K_V1' or"):
        build_backbone(NAME, {"weights": "V1"}, spec(5))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def remote(folder: Path, content: bytes, digest: str | None = None) -> str:
    digest = hashlib.sha256(content).hexdigest()[:8] if digest is None else digest
    path = folder / f"net-{digest}.pth"
    path.write_bytes(content)
    return path.as_uri()


def test_weights_are_downloaded_once(cache, tmp_path, capsys):
    url = remote(tmp_path, b"weights")
    path = _fetch(url, "backbones.net.weights")
    assert path.parent == cache
    assert path.read_bytes() == b"weights"
    (tmp_path / path.name).unlink()
    assert _fetch(url, "backbones.net.weights") == path
    assert capsys.readouterr().err.count("downloading") == 1


def test_without_a_network_the_file_and_its_place_are_named(cache, tmp_path):
    url = (tmp_path / "net-12345678.pth").as_uri()
    with pytest.raises(
        DataError, match=r"backbones\.net\.weights needs net-12345678\.pth, which is not in .*hub"
    ) as caught:
        _fetch(url, "backbones.net.weights")
    assert f"get {url} " in str(caught.value)
    assert not list(cache.iterdir())


def test_damaged_weights_are_refused(cache, tmp_path):
    url = remote(tmp_path, b"weights", digest="12345678")
    with pytest.raises(DataError, match="cannot be downloaded"):
        _fetch(url, "backbones.net.weights")
    assert not list(cache.iterdir())
    (cache / "net-12345678.pth").write_bytes(b"half of it")
    with pytest.raises(DataError, match=r"its name says 12345678…: it is damaged"):
        _fetch(url, "backbones.net.weights")
