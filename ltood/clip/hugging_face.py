"""Names of CLIP's tensors in the package transformers of Hugging Face, translated to open_clip's.

Source: Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", EMNLP 2020 (its
class CLIPModel), and its script convert_clip_original_pytorch_to_hf.py, read backwards: queries,
keys and values lie in three layers there and in one here, and projections are turned round.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TOWERS = {"text_model.": "", "vision_model.": "visual."}
#: Names within a tower; "pre_layrnorm" is spelt so there.
_NAMES = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.": "ln_final.",
    "post_layernorm.": "ln_post.",
    "pre_layrnorm.": "ln_pre.",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.*)$")
_LAYER_NAMES = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
_PROJECTIONS = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}
_QUERY = re.compile(r"(.*self_attn\.)q_proj\.(weight|bias)$")
#: Numbers of positions, which older versions keep.
_COUNTERS = re.compile(r".*embeddings\.position_ids$")


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under open_clip's names.

    Args:
        state: Tensors by name; where none is named as Hugging Face does, they are given back.

    Returns:
        The same numbers; names that are not known stay.
    """
    if not any(name.startswith(tuple(_TOWERS)) for name in state):
        return dict(state)
    renamed: dict[str, Tensor] = {}
    joined: set[str] = set()
    for name, value in state.items():
        query = _QUERY.match(name)
        if query is None:
            continue
        parts = [f"{query[1]}{part}_proj.{query[2]}" for part in "qkv"]
        if all(part in state and state[part].shape == value.shape for part in parts):
            stem = _translated(f"{query[1]}out_proj.").removesuffix("out_proj.")
            renamed[f"{stem}in_proj_{query[2]}"] = torch.cat([state[part] for part in parts])
            joined.update(parts)
    for name, value in state.items():
        if name in _PROJECTIONS and value.ndim == 2:
            renamed[_PROJECTIONS[name]] = value.T
        elif name not in joined and not _COUNTERS.match(name):
            renamed[_translated(name)] = value
    return renamed


def _translated(name: str) -> str:
    """One name; one that is not known stays."""
    tower = next((tower for tower in _TOWERS if name.startswith(tower)), None)
    if tower is None:
        return name
    inner, names = name.removeprefix(tower), _NAMES
    layer = _LAYER.match(inner)
    start = ""
    if layer is not None:
        start, inner, names = f"transformer.resblocks.{layer[1]}.", layer[2], _LAYER_NAMES
    for theirs, ours in names.items():
        if inner.startswith(theirs):
            return f"{_TOWERS[tower]}{start}{ours}{inner.removeprefix(theirs)}"
    return name
