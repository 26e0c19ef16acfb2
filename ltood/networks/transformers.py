"""Tensors of torchvision's vision transformers under the names that timm has for them.

Sources: the state dicts of torchvision's `vit_*` and `swin_*` (not of `swin_v2_*`) and of timm's
`vit_*_patch*` and `swin_*`. Both libraries build the same networks, so that the same numbers give
the same logits; only names differ.
"""

import re
from collections.abc import Mapping

from torch import Tensor

#: A tensor that only that network of torchvision has.
_VIT, _SWIN = "class_token", "features.0.0.weight"
_VIT_NAMES = (
    (r"class_token$", "cls_token"),
    (r"conv_proj\.", "patch_embed.proj."),
    (r"encoder\.pos_embedding$", "pos_embed"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"encoder\.ln\.", "norm."),
    (r"heads\.head\.", "head."),
    (r"(blocks\.\d+\.)ln_(\d)\.", r"\1norm\2."),
    (r"(blocks\.\d+\.)self_attention\.in_proj_", r"\1attn.qkv."),
    (r"(blocks\.\d+\.)self_attention\.out_proj\.", r"\1attn.proj."),
    (r"(blocks\.\d+\.)mlp\.(?:linear_1|0)\.", r"\1mlp.fc1."),
    (r"(blocks\.\d+\.)mlp\.(?:linear_2|3)\.", r"\1mlp.fc2."),
)
_SWIN_NAMES = (
    (r"features\.0\.0\.", "patch_embed.proj."),
    (r"features\.0\.2\.", "patch_embed.norm."),
    (r"head\.", "head.fc."),
)
#: What timm computes from the size of a window.
_COMPUTED = "relative_position_index"
_SWIN_PLACE = re.compile(r"features\.(\d+)\.(.*)")


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with timm's names; one of another network as it is.

    Args:
        state: Tensors by name.
    """
    if _VIT in state:
        return {_renamed(name, _VIT_NAMES): value for name, value in state.items()}
    if _SWIN in state and state[_SWIN].ndim == 4 and "features.1.0.attn.qkv.weight" in state:
        kept = {name: value for name, value in state.items() if not name.endswith(_COMPUTED)}
        return {_swin(name): value for name, value in kept.items()}
    return dict(state)


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for old, new in names:
        name = re.sub(f"^{old}", new, name)
    return name


def _swin(name: str) -> str:
    """Stages have odd places in torchvision; what merges patches stands between them."""
    plain = _renamed(name, _SWIN_NAMES)
    found = _SWIN_PLACE.fullmatch(plain)
    if found is None:
        return plain
    place, rest = int(found[1]), found[2]
    if place % 2 == 0:
        return f"layers.{place // 2}.downsample.{rest}"
    rest = re.sub(r"mlp\.0\.", "mlp.fc1.", re.sub(r"mlp\.3\.", "mlp.fc2.", rest))
    return f"layers.{place // 2}.blocks.{rest}"
