"""The classes that recipes call the tail and the head."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior


def tail_classes(prior: ClassPrior, share: float, where: str, *, index_order: bool) -> Tensor:
    """Which classes are the tail, [C] bool.

    Args:
        prior: Training counts.
        share: Share of the classes that are the tail, above 0 to 1; rounded as PASCL does.
        where: Path of the section, such as "recipes.pascl".
        index_order: Take the classes with the highest index instead of those with the fewest
            images, as the official code does.

    Raises:
        ConfigError: If the tail would have no class.
    """
    num = prior.num_classes
    num_head = round((1 - share) * num)
    if num_head == num:
        raise ConfigError(
            f"{where}.tail_share is {share}, which leaves none of {num} classes for the tail; set "
            f"it to {1 / num:.2g} or more."
        )
    ranked = ranked_classes(prior, index_order=index_order)
    is_tail = torch.zeros(num, dtype=torch.bool)
    is_tail[torch.from_numpy(ranked[num_head:])] = True
    return is_tail


def head_classes(
    prior: ClassPrior, share: float, where: str, *, index_order: bool, more: int = 0
) -> Tensor:
    """Which classes are the head, [C] bool.

    Args:
        prior: Training counts.
        share: Share of the classes that are the head, above 0 to 1; rounded.
        where: Path of the section, such as "recipes.cocl".
        index_order: Take the classes with the lowest index instead of those with the most images.
        more: Classes beyond that share, 0 or more.

    Raises:
        ConfigError: If the head would have no class.
    """
    num = prior.num_classes
    num_head = min(round(share * num) + more, num)
    if num_head == 0:
        raise ConfigError(
            f"{where}.head_share is {share}, which leaves none of {num} classes for the head; set "
            f"it to {1 / num:.2g} or more."
        )
    is_head = torch.zeros(num, dtype=torch.bool)
    ranked = ranked_classes(prior, index_order=index_order)
    is_head[torch.from_numpy(ranked[:num_head])] = True
    return is_head


def ranked_classes(prior: ClassPrior, *, index_order: bool) -> NDArray[np.intp]:
    """Classes from the most frequent to the rarest, [C].

    Args:
        prior: Training counts.
        index_order: In the order of their index instead, as official code takes them.
    """
    # A stable sort gives the official order wherever classes are sorted by count.
    return np.arange(prior.num_classes) if index_order else np.argsort(-prior.counts, kind="stable")
