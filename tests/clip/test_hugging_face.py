"""Weights of CLIP as Hugging Face names them are those of open_clip."""

from pathlib import Path

import pytest
import torch

from ltood.clip.hugging_face import from_hugging_face
from ltood.clip.models import build_clip, clip_layout, clip_spec

SMALL = Path(__file__).parents[1] / "backbones" / "small_clip.json"

#: As transformers' CLIPModel names them, without layers.
NAMES = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_clip(clip_spec(str(SMALL)))


def as_hugging_face(own):
    """Name by name, as the conversion script of transformers writes them."""
    state = {}
    for name, value in own.items():
        if name in NAMES:
            state[NAMES[name]] = value
        elif name == "text_projection":
            state["text_projection.weight"] = value.T.contiguous()
        elif name == "visual.proj":
            state["visual_projection.weight"] = value.T.contiguous()
        else:
            tower = "vision_model" if name.startswith("visual.") else "text_model"
            _, _, number, *rest = name.removeprefix("visual.").split(".")
            layer = f"{tower}.encoder.layers.{number}."
            inner = ".".join(rest)
            if inner.startswith("attn.in_proj_"):
                kind = inner.removeprefix("attn.in_proj_")
                for part, rows in zip("qkv", value.chunk(3), strict=True):
                    state[f"{layer}self_attn.{part}_proj.{kind}"] = rows
            elif inner.startswith("attn.out_proj."):
                state[f"{layer}self_{inner}"] = value
            else:
                stem, _, kind = inner.rpartition(".")
                state[f"{layer}{LAYER[stem]}.{kind}"] = value
    positions = torch.arange(4)[None]
    for tower in ("text_model", "vision_model"):
        state[f"{tower}.embeddings.position_ids"] = positions
    return state


def test_every_tensor_finds_its_place(model):
    own = model.state_dict()
    theirs = as_hugging_face(own)
    assert not own.keys() & theirs.keys() - {"logit_scale"}
    found = from_hugging_face(theirs)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)
    assert clip_layout(theirs, model).keys() == own.keys()


def test_other_names_stay(model):
    own = model.state_dict()
    assert from_hugging_face(own) == own
    theirs = as_hugging_face(own)
    odd = {
        "text_model.unknown.weight": torch.ones(1),
        "extra": torch.ones(1),
        "vision_model.encoder.layers.0.unknown": torch.ones(1),
    }
    assert odd.keys() <= from_hugging_face(theirs | odd).keys()
    half = {name: value for name, value in theirs.items() if ".k_proj." not in name}
    left = from_hugging_face(half)
    assert any(name.endswith("q_proj.weight") for name in left)
