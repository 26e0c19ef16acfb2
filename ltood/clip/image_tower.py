"""Global and local features of CLIP's image towers, by one pass over the bare tower.

Sources: Miyai, Yu, Irie and Aizawa, "LoCoOp: Few-Shot Out-of-Distribution Detection via Prompt
Learning", NeurIPS 2023 (arXiv:2306.01293) and its code (MIT), for the local features of a vision
transformer: the last block with attention in which every token looks only at itself, its
residual and its MLP being kept. Zhou, Loy and Dai, "Extract Free Dense Labels from CLIP", ECCV
2022 (arXiv:2112.01071), for those of a ResNet: the value and output projections of its pooling.

Only the class token is needed of the ordinary last block, and its values serve the local
features too, so both together cost no more than the tower alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def image_features(
    visual: nn.Module, images: Tensor, *, local: bool
) -> tuple[Tensor, Tensor | None]:
    """Features of an image tower of open_clip, not normalised.

    Args:
        visual: A plain vision transformer or CLIP's ResNet.
        images: What its first layer takes, [N, 3, R, R].
        local: Whether features of patches are wanted.

    Returns:
        Global features [N, D] and local features [N, P, D] or None, P running along the rows of
        the patches.
    """
    tower: Any = visual
    if hasattr(tower, "attnpool"):
        return _pooled(tower.attnpool, _maps(tower, images), local=local)
    tokens = tower._embeds(images)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        tokens = block(tokens)
    pooled, patches = _last_block(last, tokens, local=local)
    with _whole(tokens.device):
        number = tower.proj.dtype
        pooled = tower.ln_post(pooled.to(number)) @ tower.proj
        return pooled, None if patches is None else tower.ln_post(patches.to(number)) @ tower.proj


def _whole(device: torch.device) -> torch.autocast:
    """The last projection is computed in the format of its weights, whatever the tower computes in.

    In a coarser format features have few values, and rows tie.
    """
    return torch.autocast(device.type, enabled=False)


def _maps(tower: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    maps: Tensor = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(images)))))
    return maps


def _last_block(
    block: Any,  # noqa: ANN401
    tokens: Tensor,
    *,
    local: bool,
) -> tuple[Tensor, Tensor | None]:
    """Class token [N, W] and patches [N, P, W] or None after the last block.

    Args:
        block: The block.
        tokens: Its input, the class token first, [N, 1 + P, W].
        local: Whether patches are wanted.
    """
    attention: nn.MultiheadAttention = block.attn
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    normed = block.ln_1(tokens)
    query = F.linear(normed[:, :1], weight[:width], bias[:width])
    key, value = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    mixed = _attend(query, key, value, heads)
    first = _rest(block, tokens[:, :1], mixed)[:, 0]
    return first, _rest(block, tokens[:, 1:], value[:, 1:]) if local else None


def _rest(block: Any, tokens: Tensor, mixed: Tensor) -> Tensor:  # noqa: ANN401
    """The part of a block after its attention."""
    tokens = tokens + block.attn.out_proj(mixed)
    rest: Tensor = tokens + block.mlp(block.ln_2(tokens))
    return rest


def _pooled(pool: Any, maps: Tensor, *, local: bool) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
    """Features of attention pooling over maps [N, W, h, w]; only the mean token is a query."""
    patches = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    query, key, value = pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.v_proj(tokens)
    mixed = _attend(query, key, value, pool.num_heads)
    values = pool.v_proj(patches) if local else None
    with _whole(maps.device):
        number = pool.c_proj.weight.dtype
        pooled = pool.c_proj(mixed[:, 0].to(number))
        return pooled, None if values is None else pool.c_proj(values.to(number))


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Values as [N, 1, W] queries mix them, of keys and values [N, L, W]."""
    query, key, value = (
        part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
