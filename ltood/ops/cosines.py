"""Cosines of features and class directions, of whole images and of their patches.

With CLIP the directions are the text embeddings of the class names, and the cosines are
its logits without their scale of about 100. Lengths are divided out here, so that the
rounding of stored half-precision embeddings, or a head that does not come from text, does no harm.

A head of FA holds frozen texts beside the learned ones, K copies of each. They take part in the
softmax, where K copies of one text are log K more on its logit, and are never counted out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features, Logits, Scores
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit

#: Most cosines [rows, patches, classes] held at once; bounds memory, not results.
CHUNK_VALUES = 2**24


@dataclass(frozen=True, eq=False)
class FrozenTexts:
    """Texts that stand beside those of the classes, K copies of each.

    Attributes:
        directions: Unit vectors, [C, D] float32.
        copies: K, 0-d, above 0.
    """

    directions: Tensor
    copies: Tensor


def frozen_texts(inputs: FitInputs) -> FrozenTexts | None:
    """Frozen texts of the head, once per `inputs`; None where it has none.

    Raises:
        MissingNeedError: If there is no head.
    """
    head = inputs.require_head()
    weight, copies = head.frozen_weight, head.frozen_copies
    if weight is None or copies is None:
        return None
    return inputs.cached("frozen_texts", lambda: FrozenTexts(unit(weight.float()), copies))


def class_directions(inputs: FitInputs) -> Tensor:
    """Class weights of the head at unit length, [C, D] float32, once per `inputs`.

    Raises:
        MissingNeedError: If there is no head.
    """
    head = inputs.require_head()
    return inputs.cached("class_directions", lambda: unit(head.weight.float()))


def cosines(features: Features, directions: Tensor) -> Logits:
    """Cosines of features with class directions; 0 for a feature that is all zero.

    Args:
        features: [..., D] float32, of any length.
        directions: Unit vectors of the classes, [C, D].

    Returns:
        Cosines, [..., C] in [-1, 1].
    """
    return unit(features) @ directions.T


def global_confidence(
    batch: FeatureBatch,
    directions: Tensor,
    temperature: float,
    frozen: FrozenTexts | None = None,
) -> Scores:
    """Largest softmax of the cosines of the whole image, [N]; higher means more ID.

    Args:
        batch: Rows with features.
        directions: Unit vectors of the classes, [C, D].
        temperature: Divides the cosines. Unitless, above 0.
        frozen: Further texts of the softmax, or None.
    """
    return _confidence(batch.features, directions, temperature, frozen)


def _confidence(
    rows: Tensor, directions: Tensor, temperature: float, frozen: FrozenTexts | None
) -> Tensor:
    """Largest softmax over texts, of rows [..., D]; [...]."""
    scaled = cosines(rows, directions) / temperature
    if frozen is None:
        return torch.softmax(scaled, dim=-1).amax(dim=-1)
    others = cosines(rows, frozen.directions) / temperature
    largest = torch.maximum(scaled.amax(dim=-1), others.amax(dim=-1))
    # K equal summands are one of them, K times: log K more on its logit.
    terms = torch.cat([scaled, others + frozen.copies.log()], dim=-1)
    return 1 / (terms - largest[..., None]).exp().sum(dim=-1)


def local_confidence(
    batch: FeatureBatch,
    directions: Tensor,
    temperature: float,
    frozen: FrozenTexts | None = None,
) -> Scores:
    """Largest softmax over classes of any patch, [N]; higher means more ID.

    Found once per batch for each pair of directions and temperature.

    Args:
        batch: Rows with local features.
        directions: Unit vectors of the classes, [C, D].
        temperature: Divides the cosines. Unitless, above 0.
        frozen: Further texts of the softmax, or None.
    """
    # A tensor is a key by identity, and stays alive in the key: no other can be meant.
    others = () if frozen is None else (frozen.directions, frozen.copies)
    return batch.cached(
        ("local_confidence", directions, temperature, *others),
        lambda: _local_confidence(batch, directions, temperature, frozen),
    )


def _local_confidence(
    batch: FeatureBatch, directions: Tensor, temperature: float, frozen: FrozenTexts | None
) -> Scores:
    patches = batch.slice(0, 1).local.shape[1]
    texts = len(directions) * (1 if frozen is None else 2)
    rows = max(1, CHUNK_VALUES // max(1, patches * texts))
    found = [directions.new_zeros(0)]
    for start in range(0, len(batch), rows):
        local = batch.slice(start, start + rows).local
        confidence = _confidence(local, directions, temperature, frozen)
        found.append(confidence.amax(dim=1))
    return torch.cat(found)
