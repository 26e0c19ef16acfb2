"""Plain CLIP models are found and described; everything else is refused by what it has."""

import json
import sys
from pathlib import Path

import open_clip
import pytest
import torch

from ltood.clip.models import (
    MEAN,
    ClipSpec,
    build_clip,
    clip_layout,
    clip_spec,
    published_file,
)
from ltood.core.errors import ConfigError, DataError, MissingNeedError

SMALL = Path(__file__).parents[1] / "backbones" / "small_clip.json"


def written(folder, **changes):
    """The small configuration with changed parts, as a file."""
    content = json.loads(SMALL.read_text())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            content[key] |= value
        else:
            content[key] = value
    path = folder / "model.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("model", "quick_gelu", "resolution", "grid"),
    [
        ("ViT-B-16-quickgelu", True, 224, (14, 14)),
        ("ViT-B-16", False, 224, (14, 14)),
        ("ViT-L-14-336", False, 336, (24, 24)),
        ("RN50-quickgelu", True, 224, (7, 7)),
        ("RN50x4", False, 288, (9, 9)),
    ],
)
def test_models_by_name(model, quick_gelu, resolution, grid):
    spec = clip_spec(model)
    assert (spec.quick_gelu, spec.resolution, spec.grid) == (quick_gelu, resolution, grid)
    assert spec.mean == MEAN
    assert spec.interpolation == "bicubic"


@pytest.mark.parametrize(
    ("model", "tag", "activation"),
    [
        ("ViT-B-16", "openai", "quick_gelu"),
        ("RN50", "openai", "quick_gelu"),
        ("ViT-B-16", "laion2b_s34b_b88k", "gelu"),
        ("ViT-B-16-quickgelu", "metaclip_400m", "quick_gelu"),
    ],
)
def test_the_tag_tells_the_activation(model, tag, activation):
    assert clip_spec(model, pretrained=tag).activation == activation
    assert clip_spec(model, pretrained=tag, quick_gelu=False).activation == "gelu"


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("coca_ViT-B-32", r"multimodal_cfg \(the decoder of CoCa\)"),
        ("ViT-B-16-SigLIP", r"init_logit_bias \(the biased logits of SigLIP\)"),
        ("EVA02-B-16", r"timm_model_name \(an image tower of timm\)"),
        ("ViT-M-16-alt", r"ls_init_value \(LayerScale\)"),
        ("ViT-H-14-CLIPA", r"final_ln_after_pool \(its last norm after pooling\)"),
        ("xlm-roberta-base-ViT-B-32", r"hf_model_name \(a text tower of another package\)"),
    ],
)
def test_other_towers_are_refused_by_what_they_have(model, part):
    with pytest.raises(ConfigError, match=f"is '{model}', which has {part}; .*ViT-B-16-quickgelu"):
        clip_spec(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_cfg": {"pool_type": "avg"}},
        {"vision_cfg": {"qk_norm": True}},
        {"vision_cfg": {"attentional_pool": True}},
        {"text_cfg": {"pool_type": "eos"}},
        {"text_cfg": {"proj_bias": True}},
        {"text_cfg": {"norm_kwargs": {"eps": 1e-6}}},
        {"nonscalar_logit_scale": True},
    ],
)
def test_parts_of_a_file_are_refused_too(tmp_path, changes):
    (part,) = changes.values()
    key = next(iter(part)) if isinstance(part, dict) else next(iter(changes))
    with pytest.raises(ConfigError, match=f"which has {key}"):
        clip_spec(written(tmp_path, **changes))


def test_what_is_unset_or_plain_is_taken(tmp_path):
    idle = {"pool_type": "tok", "ls_init_value": None, "output_tokens": True, "scale_fc": False}
    spec = clip_spec(written(tmp_path, vision_cfg=idle, text_cfg={"pool_type": "argmax"}))
    build_clip(spec)
    assert "output_tokens" not in spec.vision


def test_a_file_brings_its_own_scaling(tmp_path):
    content = {
        "model_cfg": json.loads(SMALL.read_text()),
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"},
    }
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps(content))
    spec = clip_spec(str(path))
    assert (spec.mean, spec.std, spec.interpolation) == ((0.5,) * 3, (0.25,) * 3, "bilinear")
    assert clip_spec(str(path), interpolation="bicubic").interpolation == "bicubic"


@pytest.mark.parametrize("content", ["{", "[1]", '{"embed_dim": 8}', '{"model_cfg": 3}', None])
def test_a_file_that_is_no_configuration(tmp_path, content):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        ConfigError, match=r"model\.json', which is not the configuration of a CLIP"
    ):
        clip_spec(str(path))


def test_text_of_a_configuration_is_checked_likewise():
    assert clip_spec(SMALL.read_text()) == clip_spec(str(SMALL))
    with pytest.raises(ConfigError, match=r"'{\[', which is not the configuration of a CLIP model"):
        clip_spec("{[")


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(ConfigError, match=r"'ViT-B16', which open_clip .*Did you mean ViT-B-16"):
        clip_spec("ViT-B16")


def test_an_unknown_tag_is_answered_with_the_known():
    with pytest.raises(ConfigError, match=r"'opnai', a tag that 'ViT-B-16' does not .*openai, "):
        clip_spec("ViT-B-16", pretrained="opnai")
    with pytest.raises(ConfigError, match=r"the configured model does not have \(it has none\)"):
        clip_spec(str(SMALL), pretrained="openai")


def test_images_must_be_square_and_divide_into_patches(tmp_path):
    assert clip_spec(str(SMALL), resolution=48).grid == (6, 6)
    with pytest.raises(ConfigError, match="images of 36 pixels, which patches of 8 do not divide"):
        clip_spec(str(SMALL), resolution=36)
    with pytest.raises(ConfigError, match=r"whose images are \[32, 64\] pixels and not square"):
        clip_spec(written(tmp_path, vision_cfg={"image_size": [32, 64]}))
    square = clip_spec(written(tmp_path, vision_cfg={"image_size": [32, 32]}))
    assert square.resolution == 32


def test_float32_weights_are_not_rounded():
    model = build_clip(clip_spec(str(SMALL)))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_layouts_of_openai_and_of_a_text_tower_of_its_own():
    model = build_clip(clip_spec(str(SMALL)))
    own = model.state_dict()
    openai = {**own, "input_resolution": torch.tensor(32), "vocab_size": torch.tensor(49408)}
    outer = ("visual.", "logit_scale")
    custom = {k if k.startswith(outer) else f"text.{k}": v for k, v in own.items()}
    ours = {f"clip.{k}": v for k, v in own.items()}
    for state in (own, openai, custom, ours):
        found = clip_layout(state, model)
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name], own[name]) for name in own)
    assert "unknown" in clip_layout({**own, "unknown": torch.ones(1)}, model)


def test_positions_are_scaled_to_another_resolution():
    small, large = (build_clip(clip_spec(str(SMALL), resolution=side)) for side in (32, 48))
    state = small.state_dict()
    found = clip_layout(state, large)["visual.positional_embedding"]
    own = state["visual.positional_embedding"]
    assert found.shape == (37, 32)
    assert torch.equal(found[0], own[0])
    assert found[1:].mean(dim=0) == pytest.approx(own[1:].mean(dim=0), abs=0.1)
    odd = {**state, "visual.positional_embedding": own[:6]}
    assert clip_layout(odd, large)["visual.positional_embedding"].shape == (6, 32)


def test_offline_it_says_which_file_to_put_where(monkeypatch):
    def fail(about):
        raise OSError("no route to host")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError,
        match=r"'openai' of ViT-B-16 \(no route to host\).*open_clip_model.safetensors of "
        r"timm/vit_base_patch16_clip_224.openai elsewhere and name the file in "
        r"training.weights, with backbones.clip.pretrained null and .*quick_gelu true\.",
    ):
        published_file("ViT-B-16", "openai")


def test_online_the_file_is_where_open_clip_puts_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "open_clip.pretrained.download_pretrained", lambda about: asked.append(about) or "/x/y"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert published_file("ViT-B-16", "openai") == Path("/x/y")
    assert asked == [open_clip.get_pretrained_cfg("ViT-B-16", "openai")]


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingNeedError, match=r"ltood\[clip\]"):
        clip_spec("ViT-B-16")
    spec = ClipSpec("x", 8, {"layers": 1, "image_size": 8}, {}, quick_gelu=True)
    with pytest.raises(MissingNeedError, match="needs open_clip_torch"):
        build_clip(spec)
