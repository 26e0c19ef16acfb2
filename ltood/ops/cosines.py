"""Cosines of features and class directions, of whole images and of their patches.

With CLIP the directions are the text embeddings of the class names, and the cosines are
its logits without their scale of about 100. Lengths are divided out here, so that the
rounding of stored half-precision embeddings, or a head that does not come from text, does no harm.
"""

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features, Logits, Scores
from ltood.core.inputs import FitInputs
from ltood.ops.lengths import unit

#: Most cosines [rows, patches, classes] held at once; bounds memory, not results.
CHUNK_VALUES = 2**24


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


def global_confidence(batch: FeatureBatch, directions: Tensor, temperature: float) -> Scores:
    """Largest softmax of the cosines of the whole image, [N]; higher means more ID.

    Args:
        batch: Rows with features.
        directions: Unit vectors of the classes, [C, D].
        temperature: Divides the cosines. Unitless, above 0.
    """
    scaled = cosines(batch.features, directions) / temperature
    return torch.softmax(scaled, dim=1).amax(dim=1)


def local_confidence(batch: FeatureBatch, directions: Tensor, temperature: float) -> Scores:
    """Largest softmax over classes of any patch, [N]; higher means more ID.

    Found once per batch for each pair of directions and temperature.

    Args:
        batch: Rows with local features.
        directions: Unit vectors of the classes, [C, D].
        temperature: Divides the cosines. Unitless, above 0.
    """
    # A tensor is a key by identity, and stays alive in the key: no other can be meant.
    return batch.cached(
        ("local_confidence", directions, temperature),
        lambda: _local_confidence(batch, directions, temperature),
    )


def _local_confidence(batch: FeatureBatch, directions: Tensor, temperature: float) -> Scores:
    patches = batch.slice(0, 1).local.shape[1]
    rows = max(1, CHUNK_VALUES // max(1, patches * len(directions)))
    found = [directions.new_zeros(0)]
    for start in range(0, len(batch), rows):
        local = batch.slice(start, start + rows).local
        scaled = cosines(local, directions) / temperature
        found.append(torch.softmax(scaled, dim=-1).flatten(start_dim=1).amax(dim=1))
    return torch.cat(found)
