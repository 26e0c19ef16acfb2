"""The text side of the CLIP model whose checkpoint gave the features."""

from pathlib import Path

from torch import nn

from ltood.adapting.texts import TextEncoder
from ltood.clip.prompts import clip_vocabulary
from ltood.clip.text_tower import TextTower
from ltood.core.errors import DataError
from ltood.networks.checkpoint import load_checkpoint

#: What every open_clip model with a text encoder of its own has.
_PARTS = ("token_embedding", "positional_embedding", "ln_final", "text_projection", "transformer")


def text_encoder(checkpoint: Path) -> TextEncoder:
    """Text encoder and vocabulary of the CLIP model in the folder `checkpoint`, on the CPU.

    Raises:
        StoreError: If there is no whole checkpoint.
        DataError: If its backbone has no text encoder, or one for other words than CLIP's.
    """
    backbone, meta = load_checkpoint(checkpoint)
    models = [part for part in backbone.modules() if _has_text(part)]
    if not models:
        raise DataError(
            f"backbone {meta['backbone']['name']} has no text encoder, of which the recipes "
            "zero_shot, coop and locoop make their head; set backbone: clip or another recipe."
        )
    tower = TextTower.from_module(models[0])
    vocabulary = clip_vocabulary(tower.context_length)
    known = len(tower.parameters["token_embedding.weight"])
    if known <= vocabulary.end:
        raise DataError(
            f"the text encoder of {checkpoint} knows {known} tokens but CLIP's vocabulary has "
            f"{vocabulary.end + 1}; choose a model that was trained with it."
        )
    return TextEncoder(tower, vocabulary, meta["weights_sha256"])


def _has_text(part: nn.Module) -> bool:
    return all(hasattr(part, name) for name in _PARTS)
