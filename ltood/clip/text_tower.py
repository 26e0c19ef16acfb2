"""CLIP's text encoder on plain tensors: prompt embeddings to text features.

Sources: Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021 (arXiv:2103.00020), for the encoder; Zhou, Yang, Loy and Liu, "Learning
to Prompt for Vision-Language Models", IJCV 2022 (arXiv:2109.01134), for embeddings in the place
of tokens.

The mask is causal, which allows two exact savings: what follows the end token is skipped, and a
beginning that all prompts share is computed once, its keys and values being kept for every
layer. The parameters are frozen; gradients flow to the embeddings only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltood.core.errors import DataError
from ltood.runtime.devices import upload

#: Width of one attention head wherever OpenAI's names are read without a module.
HEAD_WIDTH = 64
#: Slope of QuickGELU's sigmoid.
_QUICK = 1.702
_BLOCK = "transformer.resblocks"
_OUTER = (
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.weight",
    "ln_final.bias",
    "text_projection",
    "logit_scale",
)
_INNER = (
    "ln_1.weight",
    "ln_1.bias",
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    "attn.out_proj.weight",
    "attn.out_proj.bias",
    "ln_2.weight",
    "ln_2.bias",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)

Activation = Literal["quick_gelu", "gelu"]


class Group(NamedTuple):
    """Prompts that are equally long after the shared beginning.

    Attributes:
        rows: Their numbers among all prompts, [c] int64.
        embeddings: What follows the beginning, up to the end token, [c, s, W].
    """

    rows: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class TextTower:
    """A frozen text encoder of context length T, width W and joint width D.

    Attributes:
        parameters: Float32 tensors by OpenAI's names.
        num_layers: Transformer blocks.
        num_heads: Attention heads of a block.
        activation: Between the two layers of a block's MLP; OpenAI's weights take
            "quick_gelu".
    """

    parameters: Mapping[str, Tensor]
    num_layers: int
    num_heads: int
    activation: Activation = "quick_gelu"

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        *,
        num_heads: int | None = None,
        activation: Activation = "quick_gelu",
    ) -> "TextTower":
        """Take the text encoder out of a state dict with OpenAI's names.

        Args:
            state: Tensors by name; those of the image encoder are left alone.
            num_heads: Heads of a block; None takes one for 64 of the width.
            activation: Of the MLPs.

        Raises:
            DataError: If a tensor is missing or the encoder has parts that are not known here.
        """
        inner = {name for name in state if name.startswith(f"{_BLOCK}.")}
        num_layers = len({name.removeprefix(f"{_BLOCK}.").split(".")[0] for name in inner})
        needed = {f"{_BLOCK}.{layer}.{name}" for layer in range(num_layers) for name in _INNER}
        missing = sorted({*needed, *_OUTER} - set(state))
        if missing or not num_layers:
            raise DataError(
                f"the weights hold no text encoder of CLIP ({(missing or [_BLOCK])[0]} is "
                "missing); give the weights of a CLIP model with OpenAI's names."
            )
        unknown = sorted(inner - needed)
        if unknown:
            raise DataError(
                f"the text encoder has {unknown[0]}, which no plain CLIP transformer has; choose "
                "a model without such parts (ViT-B-16-quickgelu is one)."
            )
        width = state["positional_embedding"].shape[1]
        heads = num_heads or max(1, width // HEAD_WIDTH)
        if width % heads:
            raise DataError(
                f"the text encoder is {width} wide, which {heads} heads do not divide; give its "
                "number of heads."
            )
        taken = {name: state[name].detach().float() for name in {*needed, *_OUTER}}
        return cls(taken, num_layers, heads, activation)

    @classmethod
    def from_module(cls, model: nn.Module) -> "TextTower":
        """Take the text encoder of an open_clip `CLIP`, with its heads and activation.

        Raises:
            DataError: If it is not a plain CLIP transformer that reads its end token.
        """
        blocks: Any = getattr(getattr(model, "transformer", None), "resblocks", None)
        pooling = getattr(model, "text_pool_type", "argmax")
        if not blocks or pooling != "argmax":
            raise DataError(
                f"the text encoder of this {type(model).__name__} is not a plain CLIP transformer "
                f"that reads its end token (pooling {pooling!r}); choose a model such as "
                "ViT-B-16-quickgelu."
            )
        names = {"QuickGELU": "quick_gelu", "GELU": "gelu"}
        found = type(blocks[0].mlp.gelu).__name__
        if found not in names:
            raise DataError(
                f"the text encoder has the activation {found}; QuickGELU and GELU are supported, "
                "so choose a model with one of them."
            )
        activation: Activation = "quick_gelu" if found == "QuickGELU" else "gelu"
        heads = int(blocks[0].attn.num_heads)
        return cls.from_state(model.state_dict(), num_heads=heads, activation=activation)

    def to(self, device: torch.device | str) -> "TextTower":
        """The same encoder on `device`."""
        moved = {name: value.to(device) for name, value in self.parameters.items()}
        return TextTower(moved, self.num_layers, self.num_heads, self.activation)

    @property
    def context_length(self) -> int:
        """Positions T of a prompt."""
        return int(self.parameters["positional_embedding"].shape[0])

    @property
    def width(self) -> int:
        """Width W of a token's embedding."""
        return int(self.parameters["positional_embedding"].shape[1])

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.parameters["positional_embedding"].device

    @property
    def logit_scale(self) -> float:
        """Factor of the cosines that training uses, about 100; the exponential is taken."""
        return math.exp(float(self.parameters["logit_scale"]))

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings of token ids, [..., L] int64 to [..., L, W], without positions."""
        return self.parameters["token_embedding.weight"][tokens]

    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Text features of whole prompts, not normalised.

        Args:
            embeddings: Prompts from their first position on, [C, L, W]; L at most T.
            ends: Position of the end token of each, [C] int64, below L.

        Returns:
            Features, [C, D].
        """
        num, length, _ = embeddings.shape
        x = embeddings + self.parameters["positional_embedding"][:length]
        for layer in range(self.num_layers):
            query, key, value = self._heads(layer, x)
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = self._rest(layer, x, mixed.transpose(1, 2).reshape(num, length, -1))
        return self._project(x[torch.arange(num, device=x.device), ends])

    def encode_after(self, prefix: Tensor, groups: Sequence[Group]) -> Tensor:
        """Text features of prompts with one beginning, which is computed once.

        Equals `encode` on the whole prompts.

        Args:
            prefix: Embeddings of the first n positions, the same for all prompts, [n, W]; n at
                least 1.
            groups: The rest of every prompt, its end token last; each prompt in one group.

        Returns:
            Features, [C, D], not normalised.
        """
        shared = len(prefix)
        positions = self.parameters["positional_embedding"]
        lengths = [part.embeddings.shape[1] for part in groups]
        starts = [
            part.embeddings + positions[shared : shared + length]
            for part, length in zip(groups, lengths, strict=True)
        ]
        shapes = [part.shape[:2] for part in starts]
        sizes = [shared, *(math.prod(shape) for shape in shapes)]
        # The beginning and the tokens of all groups lie in one row: everything but attention is
        # one product, and the weights are read once.
        x = torch.cat([prefix + positions[:shared], *(part.flatten(0, 1) for part in starts)])
        for layer in range(self.num_layers):
            last = layer == self.num_layers - 1
            parts = (torch.split(part, sizes, dim=1) for part in self._heads(layer, x))
            past, *own = zip(*parts, strict=True)
            mixed = self._after(own, past[1], past[2], shapes, only_end=last)
            if last:
                x = x[upload(shared + _last_tokens(shapes), x.device)]  # Nothing else is read.
            else:
                query, key, value = (part[None] for part in past)
                seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
                mixed = [seen[0].transpose(0, 1).flatten(1), *mixed]
            x = self._rest(layer, x, torch.cat(mixed))
        order = torch.cat([part.rows for part in groups])
        return self._project(x)[torch.argsort(order)]

    def _after(
        self,
        heads: Sequence[tuple[Tensor, Tensor, Tensor]],
        past_key: Tensor,
        past_value: Tensor,
        shapes: Sequence[Sequence[int]],
        *,
        only_end: bool,
    ) -> list[Tensor]:
        """Attention of packed tokens to the shared beginning and to their own prompt so far.

        Args:
            heads: Queries, keys and values of the tokens of each group, [h, c·s, d] each.
            past_key: Keys of the beginning, [h, n, d].
            past_value: Its values.
            shapes: Prompts c and tokens s of each group, in packed order.
            only_end: Answer for the last token of each prompt only.

        Returns:
            Values of each group, [c·s, W], or [c, W] for the last tokens.
        """
        outputs = []
        for (query, key, value), (num, length) in zip(heads, shapes, strict=True):
            query, key, value = (
                part.reshape(len(part), num, length, -1) for part in (query, key, value)
            )
            if only_end:
                query = query[:, :, -1:]
            asked = query.shape[2]
            query = query * query.shape[-1] ** -0.5
            past = query.flatten(1, 2) @ past_key.transpose(1, 2)
            own = query @ key.transpose(2, 3)
            future = torch.ones(asked, length, dtype=torch.bool, device=own.device)
            own = own.masked_fill(future.triu(length - asked + 1), -math.inf)
            joined = torch.cat([past.unflatten(1, (num, asked)), own], dim=3).softmax(dim=3)
            split = past_key.shape[1]
            mixed = joined[..., split:] @ value
            mixed = mixed.flatten(1, 2) + joined[..., :split].flatten(1, 2) @ past_value
            outputs.append(mixed.transpose(0, 1).flatten(1))
        return outputs

    def _heads(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens [..., L, W], [..., h, L, d] each."""
        at = f"{_BLOCK}.{layer}"
        p = self.parameters
        normed = self._norm(x, f"{at}.ln_1")
        packed = F.linear(normed, p[f"{at}.attn.in_proj_weight"], p[f"{at}.attn.in_proj_bias"])
        query, key, value = (
            part.reshape(*x.shape[:-1], self.num_heads, -1).transpose(-3, -2)
            for part in packed.chunk(3, dim=-1)
        )
        return query, key, value

    def _rest(self, layer: int, x: Tensor, mixed: Tensor) -> Tensor:
        """The part of a block after its attention."""
        at = f"{_BLOCK}.{layer}"
        p = self.parameters
        x = x + F.linear(mixed, p[f"{at}.attn.out_proj.weight"], p[f"{at}.attn.out_proj.bias"])
        inner = self._norm(x, f"{at}.ln_2").flatten(0, -2)
        # x·sigmoid(a·x) is silu(a·x)/a: both factors go into the products, which saves passes.
        slope = _QUICK if self.activation == "quick_gelu" else 1.0
        weight, bias = p[f"{at}.mlp.c_fc.weight"], p[f"{at}.mlp.c_fc.bias"]
        inner = torch.addmm(bias, inner, weight.T, beta=slope, alpha=slope)
        inner = F.silu(inner) if self.activation == "quick_gelu" else F.gelu(inner)
        weight, bias = p[f"{at}.mlp.c_proj.weight"], p[f"{at}.mlp.c_proj.bias"]
        return x + torch.addmm(bias, inner, weight.T, alpha=1 / slope).view_as(x)

    def _project(self, x: Tensor) -> Tensor:
        return self._norm(x, "ln_final") @ self.parameters["text_projection"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        p = self.parameters
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def _last_tokens(shapes: Sequence[Sequence[int]]) -> Tensor:
    """Index of the last token of each prompt in the packed tokens, [C] int64."""
    counts = torch.cat([torch.full((num,), length) for num, length in shapes])
    return counts.cumsum(0) - 1
