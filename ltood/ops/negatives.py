"""Cosines with class names against cosines with negative labels, in groups.

Negative labels are words that are far from every class name. The softmax of an image runs over
all classes and one group of negative labels at a time; what it gives to the classes is
sigmoid(a - b), a the log-sum-exp of the class logits and b that of the group's.
"""

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.errors import MissingNeedError
from ltood.core.inputs import FitInputs, Need
from ltood.ops.cosines import CHUNK_VALUES, cosines
from ltood.ops.lengths import unit


def negative_directions(inputs: FitInputs) -> Tensor:
    """Text features of the negative labels at unit length, [M, D] float32, once per `inputs`.

    Raises:
        MissingNeedError: If the head holds none, or there is no head.
    """
    weight = inputs.require_head().negative_weight
    if weight is None:
        raise MissingNeedError(f"fit needs {Need.NEGATIVES.value}, which it was not given.")
    return inputs.cached("negative_directions", lambda: unit(weight.float()))


def grouped(directions: Tensor, groups: int, seed: int) -> Tensor:
    """Negative labels dealt to groups of one size, [G, S, D].

    The last M mod G are left out, and the others permuted on the CPU, so that every device has
    the same groups.

    Args:
        directions: One for each label, [M, D].
        groups: G that is wanted, 1 or more; M where it is more.
        seed: Of the permutation.
    """
    groups = min(groups, len(directions))
    size = len(directions) // groups
    order = torch.randperm(groups * size, generator=torch.Generator().manual_seed(seed))
    return directions[order.to(directions.device)].reshape(groups, size, -1)


def negative_log_odds(
    features: Features, directions: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Logarithm of the odds that an image is none of the classes, for each group, [N, G].

    Args:
        features: [N, D] float32, of any length.
        directions: Unit vectors of the classes, [C, D].
        negatives: Unit vectors of the negative labels by group, [G, S, D].
        temperature: Divides the cosines. Unitless, above 0.
    """
    groups, size, _ = negatives.shape
    labels = negatives.flatten(0, 1)
    rows = max(1, CHUNK_VALUES // max(1, groups * size))
    found = [features.new_zeros(0, groups)]
    for part in torch.split(features, rows):
        known = cosines(part, directions) / temperature
        unknown = cosines(part, labels) / temperature
        found.append(log_odds_by_group(known, unknown, groups))
    return torch.cat(found)


def log_odds_by_group(known: Tensor, unknown: Tensor, groups: int) -> Tensor:
    """Logarithm of the odds of each group of negative labels against all classes, [N, G].

    Args:
        known: Logits of the classes, [N, C].
        unknown: Logits of the negative labels, group after group, [N, G S].
        groups: G.
    """
    size = unknown.shape[1] // groups
    of_groups = unknown.reshape(len(unknown), groups, size).logsumexp(dim=2)
    return of_groups - known.logsumexp(dim=1, keepdim=True)
