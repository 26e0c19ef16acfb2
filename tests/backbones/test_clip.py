"""The backbone clip: unit features, weights of every layout, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from ltood.backbones.clip import Clip, Config
from ltood.clip.image_tower import image_features
from ltood.core.errors import ConfigError, CorruptStoreError, DataError
from ltood.core.settings import parse, to_section
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import load_checkpoint, write_checkpoint
from ltood.networks.weights import load_weights

SMALL = Path(__file__).with_name("small_clip.json")
GOLDEN = Path(__file__).parents[1] / "golden"
IMAGES = ImageSpec(3, 32, 32, (0.5,) * 3, (0.2,) * 3, 4)


def small(model=SMALL, *, images=IMAGES, seed=0, **settings):
    torch.manual_seed(seed)
    return Clip(Config(str(model), **settings), images).eval()


def pixels(num=3, side=32):
    return torch.rand(num, 3, side, side, generator=torch.Generator().manual_seed(1))


def tensors(backbone):
    return {name.removeprefix("clip."): value for name, value in backbone.clip.state_dict().items()}


def golden_model(folder):
    """The golden transformer as a configuration file and a weight file with OpenAI's names."""
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 16, "vocab_size": 64, "width": 64, "heads": 1, "layers": 2,
        },
        "quick_gelu": True,
    }  # fmt: skip
    (folder / "golden.json").write_text(json.dumps(config))
    with np.load(GOLDEN / "image_towers.npz") as held, np.load(GOLDEN / "text_tower.npz") as text:
        start = "vit_w/"
        state = {k.removeprefix(start): held[k] for k in held if k.startswith(start)}
        state |= {key: text[key] for key in text}
        arrays = {k.removeprefix("vit/"): held[k] for k in held if k.startswith("vit/")}
    torch.save({name: torch.tensor(value) for name, value in state.items()}, folder / "golden.pth")
    return folder / "golden.json", folder / "golden.pth", arrays


def test_golden_features_from_a_file_with_openai_names(tmp_path):
    model, weights, golden = golden_model(tmp_path)
    backbone = small(model)
    load_weights(backbone, weights)
    # The golden images are what the first layer sees.
    seen = torch.tensor(golden["image"]) * backbone.std + backbone.mean
    with torch.no_grad():
        pooled, local = backbone.embed(seen)
    for found, name in ((pooled, "global"), (local, "local")):
        wanted = normalize(torch.tensor(golden[name]), dim=-1)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_features_have_length_one_and_local_ones_are_optional():
    both, one = small(), small(local=False)
    with torch.no_grad():
        (pooled, local), (alone, nothing) = both.embed(pixels()), one.embed(pixels())
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(local.norm(dim=2), torch.ones(3, 16))
    torch.testing.assert_close(alone, pooled, rtol=1e-5, atol=1e-6)
    assert nothing is None
    assert (both.local_shape, one.local_shape) == ((16, 24), None)
    assert both.preprocessing["grid"] == [4, 4]
    assert (both.preprocessing["local"], one.preprocessing["local"]) == ("block_value", None)


@pytest.mark.parametrize("layers", [1, (1, 1, 1, 1)], ids=["transformer", "resnet"])
def test_features_are_projected_in_float32_whatever_the_tower_computes_in(layers, tmp_path):
    config = json.loads(SMALL.read_text())
    if layers != 1:
        own = {"image_size": 32, "layers": layers, "width": 8, "patch_size": None}
        config["vision_cfg"] = own
    (tmp_path / "model.json").write_text(json.dumps(config))
    visual = small(tmp_path / "model.json").clip.visual
    with torch.no_grad():
        exact, _ = image_features(visual, pixels(), local=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = image_features(visual, pixels(), local=True)
    assert [part.dtype for part in found] == [torch.float32] * 2
    torch.testing.assert_close(found[0], exact, rtol=0.2, atol=0.1 * float(exact.abs().max()))


def test_grey_images_are_repeated():
    grey = pixels()[:, :1]
    with torch.no_grad():
        found, wanted = small().embed(grey)[0], small().embed(grey.repeat(1, 3, 1, 1))[0]
    assert torch.equal(found, wanted)


def test_images_of_another_size_are_refused():
    with pytest.raises(DataError, match=r"28 x 32 pixels but the configured model sees 32 x 32"):
        small().embed(torch.zeros(1, 3, 28, 32))


def test_images_come_to_size_as_open_clip_does_it():
    from open_clip.transform import image_transform

    backbone = small()
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(256, size=(50, 75, 3)).astype(np.uint8))
    wanted = image_transform(32, is_train=False)(image)
    found = torch.tensor(backbone.geometry(image, 0)).permute(2, 0, 1) / 255
    found = (found - backbone.mean[0]) / backbone.std[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert backbone.fixed_size


def test_views_are_made_as_set():
    assert small().training_views(np.arange(3)) is None
    assert small().preprocessing["views"] is None
    backbone = small(views=5, view_seed=2, resolution=48)
    views = backbone.training_views(np.array([8, 1]))
    assert (views.num, views.size, views.seed, views.interpolation) == (5, 48, 2, "bicubic")
    assert views.ids.tolist() == [8, 1]
    assert backbone.preprocessing["views"]["seed"] == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_of_a_file_are_taken_as_they_are(tmp_path, dtype, capsys):
    given = small(seed=1)
    state = {name: value.to(dtype) for name, value in tensors(given).items()}
    torch.save(state, tmp_path / "clip.pt")
    backbone = small()
    load_weights(backbone, tmp_path / "clip.pt")
    for name, value in tensors(backbone).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].float())
    assert (
        "the configured model computes with QuickGELU; set backbones.clip.quick_gelu to false"
        in (capsys.readouterr().err)
    )


def test_weights_of_another_model_are_refused(tmp_path):
    state = tensors(small())
    state.pop("visual.proj")
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(DataError, match=r"the weights of clip as it is set: it lacks clip\.visual"):
        load_weights(small(), tmp_path / "clip.pt")


def test_openai_weights_and_gelu_are_refused_unless_asked_for(tmp_path):
    content = json.loads(SMALL.read_text()) | {"quick_gelu": False}
    (tmp_path / "gelu.json").write_text(json.dumps(content))
    state = {**tensors(small()), "input_resolution": torch.tensor(32)}
    torch.save(state, tmp_path / "openai.pt")
    with pytest.raises(ConfigError, match=r"are OpenAI's, .*set backbones\.clip\.quick_gelu to tr"):
        load_weights(small(tmp_path / "gelu.json"), tmp_path / "openai.pt")
    for chosen in (True, False):
        backbone = small(tmp_path / "gelu.json", quick_gelu=chosen)
        load_weights(backbone, tmp_path / "openai.pt")
        assert backbone.preprocessing["activation"] == ("quick_gelu" if chosen else "gelu")


def test_published_weights_come_through_open_clip(tmp_path, monkeypatch):
    about = {"hf_hub": "someone/small/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3)}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda model, tag: about)
    torch.save(tensors(small(seed=4)), tmp_path / "published.pt")
    monkeypatch.setattr(
        "open_clip.pretrained.download_pretrained", lambda about: str(tmp_path / "published.pt")
    )
    settings = {"model": str(SMALL), "pretrained": "someones"}
    backbone = build_backbone("clip", settings, IMAGES)
    assert backbone.own_weights
    assert not small().own_weights
    wanted = tensors(small(seed=4))
    assert all(torch.equal(value, wanted[name]) for name, value in tensors(backbone).items())
    assert backbone.preprocessing["mean"] == [0.1, 0.2, 0.3]


def checkpoint(folder, backbone, **settings):
    folder.mkdir(exist_ok=True)
    described = {"name": "clip", "settings": {"model": str(SMALL), **settings}}
    write_checkpoint(folder, backbone, {"backbone": described})
    return folder


def test_a_checkpoint_holds_both_towers(tmp_path):
    given = small(seed=1)
    found, meta = load_checkpoint(checkpoint(tmp_path / "checkpoint", given))
    assert meta["backbone"]["name"] == "clip"
    assert found.state_dict().keys() == given.state_dict().keys()
    assert all(torch.equal(v, given.state_dict()[k]) for k, v in found.state_dict().items())
    again = small()
    load_weights(again, tmp_path / "checkpoint")
    assert torch.equal(again.clip.token_embedding.weight, given.clip.token_embedding.weight)


def test_a_configuration_file_need_not_be_kept(tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(SMALL.read_bytes())
    config = parse({"model": str(path)}, Config, "backbones.clip")
    path.unlink()
    assert json.loads(config.model) == json.loads(SMALL.read_text())
    assert parse(to_section(config), Config, "backbones.clip") == config
    build_backbone("clip", to_section(config), IMAGES)


def test_a_checkpoint_knows_what_no_tensor_tells(tmp_path):
    # Head widths and activations change features but no shape.
    folder = checkpoint(tmp_path / "checkpoint", small(), quick_gelu=False)
    with pytest.raises(
        CorruptStoreError, match=r"the weights are for activation 'quick_gelu' and not 'gelu'"
    ):
        load_checkpoint(folder)
    content = json.loads(SMALL.read_text())
    content["vision_cfg"]["head_width"] = 8
    (tmp_path / "heads.json").write_text(json.dumps(content))
    other = small(tmp_path / "heads.json")
    with pytest.raises(DataError, match=r"for image_head_width 16 and not 8, as "):
        load_weights(other, folder)
    damaged = {**small().state_dict(), "description": torch.zeros(3, dtype=torch.uint8)}
    torch.save(damaged, tmp_path / "damaged.pt")
    with pytest.raises(DataError, match="for activation None and not 'quick_gelu'; image_head"):
        load_weights(small(), tmp_path / "damaged.pt")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"views": -1}, r"clip\.views is -1"),
        ({"view_seed": -2}, r"clip\.view_seed is -2"),
        ({"resolution": 0}, r"clip\.resolution is 0"),
        ({"interpolation": "nearest"}, r"clip\.interpolation is 'nearest'"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "backbones.clip")
